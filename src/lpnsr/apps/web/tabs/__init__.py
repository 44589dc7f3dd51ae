"""The tabs of the page, and the components that they share."""
