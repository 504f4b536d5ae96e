"""Where a document's bytes come from: its event, a file, a URL, an object store."""
