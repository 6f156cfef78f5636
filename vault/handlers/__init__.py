"""One module a resource, each thin: read the message, ask the service, answer."""
