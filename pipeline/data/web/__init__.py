"""HTTP as everything here uses it: exactly the URLs that are listed, and no way into private
networks."""
