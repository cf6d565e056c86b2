"""Objects in S3: list, fetch, publish, buckets; the only boto3 imports."""
