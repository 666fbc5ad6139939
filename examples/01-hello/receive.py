import json
import sys

import pika


def callback(channel, method, properties, body):
    print(f' [x] Received {body}', flush=True)
    hello = json.loads(body)
    print(f" [.] {hello['name']}: {hello['message']}", flush=True)
    channel.basic_ack(delivery_tag=method.delivery_tag)


port = int(sys.argv[1]) if len(sys.argv) > 1 else 5672
connection = pika.BlockingConnection(pika.ConnectionParameters(host='localhost', port=port))
channel = connection.channel()

channel.queue_declare(queue='hello')
channel.basic_consume(queue='hello', on_message_callback=callback)

print(' [*] Waiting for messages. To exit press CTRL+C', flush=True)
channel.start_consuming()
