"""Readers: each turns one layout of images on disk into the same listing."""
