"""A small LightCap trained from scratch on scenes that `scenes` draws and `grammar` describes."""
