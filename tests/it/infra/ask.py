"""Runs Kusto queries on DuckDB.

Reads {"tables": {name: "(column: type, …)"}, "cases": {name: {"query": text, "rows": {table: [[…], …]}}}} and writes
{name: [{column: text}, …]}. The first column of a table is a time, given as hours before now.
"""

import json
import re
import sys
from datetime import datetime, timedelta, timezone

import duckdb_kql

TYPES = {"datetime": "timestamp", "string": "varchar", "int": "integer", "real": "double", "dynamic": "json"}

asked = json.load(sys.stdin)
now = datetime.now(timezone.utc).replace(tzinfo=None)
answers = {}
for name, case in asked["cases"].items():
    database = duckdb_kql.connect()
    for table, columns in asked["tables"].items():
        columns = re.findall(r"(\w+): (\w+)", columns)
        database.execute(f'create table "{table}" ({", ".join(f"{it} {TYPES[type]}" for it, type in columns)})')
        for [hours, *values] in case["rows"].get(table, []):
            row = [now - timedelta(hours=hours), *values]
            database.execute(f'insert into "{table}" values ({", ".join("?" * len(row))})', row)
    result = duckdb_kql.query(database, case["query"])
    answers[name] = [dict(zip(result.columns, map(str, row))) for row in result.fetchall()]
json.dump(answers, sys.stdout)
