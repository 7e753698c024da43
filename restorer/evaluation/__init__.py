"""Judge restorations: one metric a file, a runner that judges methods on the same pictures, and the report."""
