"""Instances that move between servers: a source that sends, a sink that receives, websockets between them."""
