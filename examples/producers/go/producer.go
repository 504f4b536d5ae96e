// Producer puts one file on the documents topic: JSON, with franz-go.
//
//	go run . BOOTSTRAP_SERVERS COLLECTION DOCUMENT_ID FILE [TOPIC]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const tenant = "default"

// event is the part of the JSON shape in docs/producing.md that this example needs.
type event struct {
	Tenant     string `json:"tenant"`
	Collection string `json:"collection"`
	ID         string `json:"id"`
	Name       string `json:"name"`
	Content    []byte `json:"content_base64"` // encoding/json writes bytes as base64
}

// recordKey percent-encodes tenant, collection and document id and joins them by slashes.
func recordKey(parts ...string) []byte {
	for i, part := range parts {
		// QueryEscape writes a space as in forms; the rest is RFC 3986.
		parts[i] = strings.ReplaceAll(url.QueryEscape(part), "+", "%20")
	}
	return []byte(strings.Join(parts, "/"))
}

func run(servers, collection, id, file, topic string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	value, err := json.Marshal(event{tenant, collection, id, filepath.Base(file), content})
	if err != nil {
		return err
	}
	// Idempotence is franz-go's default and needs the acknowledgement of all replicas.
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(servers, ",")...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	sent, err := client.ProduceSync(context.Background(), &kgo.Record{
		Topic:   topic,
		Key:     recordKey(tenant, collection, id),
		Value:   value,
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}},
	}).First()
	if err != nil {
		return err
	}
	fmt.Printf("%s-%d@%d\n", sent.Topic, sent.Partition, sent.Offset)
	return nil
}

func main() {
	arguments := os.Args[1:]
	if len(arguments) == 4 {
		arguments = append(arguments, "headrace.documents.v1")
	}
	if len(arguments) != 5 {
		log.Fatal("usage: producer BOOTSTRAP_SERVERS COLLECTION DOCUMENT_ID FILE [TOPIC]")
	}
	if err := run(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]); err != nil {
		log.Fatal(err)
	}
}
