import json
import sys

import pika

port = int(sys.argv[1]) if len(sys.argv) > 1 else 5672
connection = pika.BlockingConnection(pika.ConnectionParameters(host='localhost', port=port))
channel = connection.channel()

channel.queue_declare(queue='hello')

message = {'name': 'John', 'message': 'Hello World!'}
channel.basic_publish(exchange='', routing_key='hello', body=json.dumps(message))
print(f' [x] Sent {message}')
connection.close()
