"""One endpoint over a model bundle, for ``serve run`` and ``serve deploy``.

```text
serve run serve_apps.predict:app name=flights model=flights version=3 digest=ab12... bundle_uri=s3://bucket/bundles/ab12
```
"""

from raypipe.serve import build as app

__all__ = ["app"]
