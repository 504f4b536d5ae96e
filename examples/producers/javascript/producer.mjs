// Puts one file on the documents topic: JSON, with kafkajs.
//
//   node producer.mjs BOOTSTRAP_SERVERS COLLECTION DOCUMENT_ID FILE [TOPIC]

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { Kafka, Partitioners } from "kafkajs";

const TENANT = "default";

/** Tenant, collection and document id, percent-encoded and joined by slashes. */
function recordKey(...parts) {
  // encodeURIComponent leaves five characters that RFC 3986 reserves.
  const encode = (part) =>
    encodeURIComponent(part).replace(
      /[!'()*]/g,
      (character) => "%" + character.charCodeAt(0).toString(16).toUpperCase(),
    );
  return parts.map(encode).join("/");
}

const [servers, collection, id, file, topic = "headrace.documents.v1"] =
  process.argv.slice(2);
if (file === undefined) {
  console.error(
    "usage: node producer.mjs BOOTSTRAP_SERVERS COLLECTION DOCUMENT_ID FILE [TOPIC]",
  );
  process.exit(2);
}

const event = {
  tenant: TENANT,
  collection,
  id,
  name: basename(file),
  content_base64: (await readFile(file)).toString("base64"),
};
const producer = new Kafka({ brokers: servers.split(",") }).producer({
  idempotent: true,
  createPartitioner: Partitioners.DefaultPartitioner, // the same as Java's
});
await producer.connect();
try {
  const [sent] = await producer.send({
    topic,
    acks: -1, // all in-sync replicas
    messages: [
      {
        key: recordKey(TENANT, collection, id),
        value: JSON.stringify(event),
        headers: { "content-type": "application/json" },
      },
    ],
  });
  console.log(`${sent.topicName}-${sent.partition}@${sent.baseOffset}`);
} finally {
  await producer.disconnect();
}
