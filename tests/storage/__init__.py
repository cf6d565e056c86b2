"""Storage, on one S3 server that ends with the folder."""
