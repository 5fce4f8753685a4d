"""Pages: HTML that no value can break, in one self-contained file, with small charts."""

from raypipe.pages._charts import bars, meter, spark
from raypipe.pages._document import document
from raypipe.pages._html import Html, count_of, figures_of, join, row, share_of, table, tag

__all__ = ["Html", "bars", "count_of", "document", "figures_of", "join", "meter", "row", "share_of", "spark", "table", "tag"]
