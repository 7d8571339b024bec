#!/usr/bin/env python3
"""What people write today: a paho subscriber that inserts readings into SQLite in batches.

In: telemetry (JSON, one reading, an array, or columns) from a broker at QoS 1. Out: rows in SQLite, one transaction per
BATCH rows or 100 ms. paho acknowledges a message when its callback returns, before the transaction is on disk: this is
the habit that is measured, not a recommendation. Prints `{"messages": n, "rows": n}` to the file COUNTS after each
transaction.
"""

import json
import os
import queue
import sqlite3
import sys
import threading
import time

import paho.mqtt.client as mqtt

HOST, PORT, DATABASE, COUNTS = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
BATCH = 5000  # rows in a transaction
METRICS = ["drum_speed_rpm", "vibration_mm_s", "motor_current_a", "water_temperature_c", "heating_minutes", "drain_seconds",
           "cycle_count"]

arrived = queue.Queue()


def rows_of(topic, payload):
    device = topic.split("/")[3]
    told = json.loads(payload)
    for reading in told if isinstance(told, list) else [told]:
        measured = reading["m"]
        if isinstance(reading["ts"], list):
            columns = [measured.get(name) for name in METRICS]
            for index, ts in enumerate(reading["ts"]):
                yield (device, reading["boot"], reading["seq"] + index, ts, *[column[index] for column in columns])
        else:
            yield (device, reading["boot"], reading["seq"], reading["ts"], *[measured.get(name) for name in METRICS])


def insert():
    database = sqlite3.connect(DATABASE)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    columns = ", ".join(f"{name} real" for name in METRICS)
    database.execute(f"create table reading (device text, boot int, seq int, ts int, {columns})")
    statement = f"insert into reading values ({', '.join('?' * (4 + len(METRICS)))})"
    messages = rows = 0
    while True:
        batch, taken, until = [], 0, time.monotonic() + 0.1
        while len(batch) < BATCH and (left := until - time.monotonic()) > 0:
            try:
                topic, payload = arrived.get(timeout=left)
            except queue.Empty:
                break
            batch.extend(rows_of(topic, payload))
            taken += 1
        if batch:
            with database:
                database.executemany(statement, batch)
            messages, rows = messages + taken, rows + len(batch)
            with open(COUNTS + ".new", "w") as counts:
                json.dump({"messages": messages, "rows": rows}, counts)
            os.replace(COUNTS + ".new", COUNTS)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho-sqlite", protocol=mqtt.MQTTv311)
client.on_connect = lambda client, *_: client.subscribe("fw/v1/#", qos=1)
client.on_message = lambda _client, _userdata, message: arrived.put((message.topic, message.payload))
client.on_subscribe = lambda *_: print("subscribed", flush=True)
client.connect(HOST, PORT)
threading.Thread(target=insert, daemon=True).start()
client.loop_forever()
