"""Publishes until the broker blocks it, waits until it is unblocked, and prints what it was told."""
import sys

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', int(sys.argv[1]), blocked_connection_timeout=20))
told = []
connection.add_on_connection_blocked_callback(lambda _connection, frame: told.append(f'blocked: {frame.method.reason}'))
connection.add_on_connection_unblocked_callback(lambda _connection, _frame: told.append('unblocked'))
channel = connection.channel()
for number in range(11):
    channel.basic_publish('', 'full', b'x' * 100_000)
while not told:
    connection.process_data_events(time_limit=0.1)
print(told[0], flush=True)
while len(told) < 2:
    connection.process_data_events(time_limit=0.1)
print(told[1], flush=True)
connection.close()
