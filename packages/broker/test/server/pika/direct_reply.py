"""Requests over direct reply-to, as the tutorials of RabbitMQ's Python client have them; prints what came back."""
import json
import sys

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', int(sys.argv[1])))
server = connection.channel()
server.queue_declare(queue='double', exclusive=True)


def on_request(channel, _method, properties, body):
    channel.basic_publish('', properties.reply_to, str(2 * int(body)),
                          pika.BasicProperties(correlation_id=properties.correlation_id))


server.basic_consume('double', on_request, auto_ack=True)
client = connection.channel()
replies = {}
client.basic_consume('amq.rabbitmq.reply-to',
                     lambda _channel, _method, properties, body: replies.update({properties.correlation_id: int(body)}),
                     auto_ack=True)
for number in range(50):
    client.basic_publish('', 'double', str(number),
                         pika.BasicProperties(reply_to='amq.rabbitmq.reply-to', correlation_id=str(number)))
while len(replies) < 50:
    connection.process_data_events(time_limit=1)
print(json.dumps(replies), flush=True)
connection.close()
