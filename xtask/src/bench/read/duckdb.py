"""Asks DuckDB the questions of a measurement; prints one JSON object.

Usage: duckdb.py DATABASE load SALES.csv ITEMS.csv
       duckdb.py DATABASE ask STATEMENTS.json TIMES
"""

import json
import resource
import statistics
import sys
import time

import duckdb

SALE = """
    transaction_id uuid, transaction_time timestamp, store_id integer, total_amount decimal(12, 2),
    total_discount decimal(12, 2)
"""
ITEM = """
    transaction_id uuid, product_code varchar, product_name varchar, category varchar, quantity integer,
    total_price decimal(12, 2)
"""


def load(connection, sales, items):
    connection.execute("create schema sales")
    for table, columns, file in (("sales_transaction", SALE, sales), ("sales_item", ITEM, items)):
        connection.execute(f"create table sales.{table} ({columns})")
        connection.execute(f"copy sales.{table} from '{file}' (format csv, header false)")
    connection.execute("checkpoint")
    return {"items": connection.execute("select count(*) from sales.sales_item").fetchone()[0]}


def ask(connection, statements, times):
    answers = {}
    for name, statement in statements.items():
        connection.execute(statement).fetchall()
        took = []
        for _ in range(times):
            begun = time.perf_counter()
            rows = connection.execute(statement).fetchall()
            took.append((time.perf_counter() - begun) * 1000)
        answers[name] = {"milliseconds": statistics.median(took), "rows": [[str(value) for value in row] for row in rows]}
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "answers": answers,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_bytes": used.ru_maxrss * 1024,
        "version": duckdb.__version__,
    }


def main():
    database, action, *rest = sys.argv[1:]
    connection = duckdb.connect(database)
    if action == "load":
        print(json.dumps(load(connection, *rest)))
    else:
        with open(rest[0], encoding="utf-8") as file:
            print(json.dumps(ask(connection, json.load(file), int(rest[1]))))


main()
