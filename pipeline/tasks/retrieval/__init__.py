"""Image-text retrieval: COCO and Flickr30k."""
