"""stub"""
from client.tables.source import Source
from client.tables.options import ReadOptions
def inferred(source: Source, options: ReadOptions) -> Source:
    return source
