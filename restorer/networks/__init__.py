"""Networks: nn.Module only; they open no file and pick no device."""
