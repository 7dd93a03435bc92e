"""Published files: name -> URL, SHA-256 and license -> a cached local file."""
