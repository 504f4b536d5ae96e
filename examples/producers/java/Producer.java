import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Puts one file on the documents topic: JSON, with nothing but kafka-clients.
 *
 * <p>java Producer BOOTSTRAP_SERVERS COLLECTION DOCUMENT_ID FILE [TOPIC]
 */
public final class Producer {
  private static final String TENANT = "default";

  public static void main(String[] arguments) throws Exception {
    if (arguments.length < 4 || arguments.length > 5) {
      System.err.println(
          "usage: java Producer BOOTSTRAP_SERVERS COLLECTION DOCUMENT_ID FILE [TOPIC]");
      System.exit(2);
    }
    String collection = arguments[1];
    String documentId = arguments[2];
    Path file = Path.of(arguments[3]);
    String topic = arguments.length == 5 ? arguments[4] : "headrace.documents.v1";

    String event =
        "{\"tenant\":" + json(TENANT)
            + ",\"collection\":" + json(collection)
            + ",\"id\":" + json(documentId)
            + ",\"name\":" + json(file.getFileName().toString())
            + ",\"content_base64\":"
            + json(Base64.getEncoder().encodeToString(Files.readAllBytes(file)))
            + "}";
    ProducerRecord<byte[], byte[]> record =
        new ProducerRecord<>(
            topic,
            recordKey(TENANT, collection, documentId),
            event.getBytes(StandardCharsets.UTF_8));
    record.headers().add("content-type", "application/json".getBytes(StandardCharsets.UTF_8));

    Properties properties = new Properties();
    properties.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    properties.put(ProducerConfig.ACKS_CONFIG, "all");
    properties.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
    try (var producer =
        new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
      // get() throws where the brokers did not confirm: then nothing may be assumed sent.
      System.out.println(producer.send(record).get());
    }
  }

  /** Tenant, collection and document id, percent-encoded and joined by slashes. */
  private static byte[] recordKey(String... parts) {
    StringBuilder key = new StringBuilder();
    for (String part : parts) {
      // URLEncoder writes forms, which differ from RFC 3986 in three characters.
      String encoded =
          URLEncoder.encode(part, StandardCharsets.UTF_8)
              .replace("+", "%20")
              .replace("*", "%2A")
              .replace("%7E", "~");
      key.append(key.length() == 0 ? "" : "/").append(encoded);
    }
    return key.toString().getBytes(StandardCharsets.US_ASCII);
  }

  /** A text as a JSON string; use your JSON library instead where you have one. */
  private static String json(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char character : text.toCharArray()) {
      if (character == '"' || character == '\\') {
        quoted.append('\\').append(character);
      } else if (character < ' ') {
        quoted.append(String.format("\\u%04x", (int) character));
      } else {
        quoted.append(character);
      }
    }
    return quoted.append('"').toString();
  }
}
