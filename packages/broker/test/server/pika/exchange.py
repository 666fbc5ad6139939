"""What a Python program does with a broker, in one run: prints one line of JSON that says what it saw."""
import json
import sys

import pika
from pika.exceptions import (
    ChannelClosedByBroker,
    NackError,
    ProbableAuthenticationError,
    UnroutableError,
)

port = int(sys.argv[1])


def connect(**options):
    return pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', port, **options))


def refusal(call):
    """Reply code and text of the channel error that the call runs into, on a channel of its own."""
    channel = connection.channel()
    try:
        call(channel)
    except ChannelClosedByBroker as error:
        return [error.reply_code, error.reply_text]
    return None


seen = {}
connection = connect()
channel = connection.channel()

channel.queue_declare(queue='pika')
channel.queue_declare(queue='pika')
channel.basic_publish('', 'pika', 'got', pika.BasicProperties(
    content_type='text/plain', delivery_mode=2, correlation_id='c', headers={'n': 1, 's': 'x', 'l': [1, 'a'], 't': {'deep': True}}))
method, properties, body = channel.basic_get('pika')
channel.basic_ack(method.delivery_tag)
seen['get'] = [body.decode(), properties.content_type, properties.correlation_id, properties.headers]
seen['empty'] = channel.basic_get('pika')[0] is None

channel.exchange_declare('pika-topic', exchange_type='topic')
server_named = channel.queue_declare(queue='', exclusive=True).method.queue
channel.queue_bind(server_named, 'pika-topic', 'orders.#')
channel.confirm_delivery()
for number in range(100):
    channel.basic_publish('pika-topic', f'orders.{number}', str(number), mandatory=True)
try:
    channel.basic_publish('pika-topic', 'bills.1', 'nobody', mandatory=True)
except UnroutableError as error:
    seen['returned'] = error.messages[0].body.decode()

consumer = connection.channel()
consumer.basic_qos(prefetch_count=7)
numbers = []


def on_message(its_channel, method, _properties, body):
    numbers.append(int(body))
    its_channel.basic_ack(method.delivery_tag)
    if len(numbers) == 100:
        its_channel.stop_consuming()


consumer.basic_consume(server_named, on_message)
consumer.start_consuming()
seen['consumed'] = numbers == list(range(100))

channel.queue_declare('pika-small', arguments={'x-max-length': 1, 'x-overflow': 'reject-publish'})
channel.basic_publish('', 'pika-small', 'fits')
try:
    channel.basic_publish('', 'pika-small', 'does not')
except NackError:
    seen['nacked'] = True

seen['inequivalent'] = refusal(lambda one: one.queue_declare('pika', durable=True))
seen['missing'] = refusal(lambda one: one.queue_declare('pika-missing', passive=True))
seen['reserved'] = refusal(lambda one: one.queue_declare('amq.mine'))
seen['unknown tag'] = refusal(lambda one: (one.basic_ack(99), one.queue_declare('pika', passive=True)))

other = connect()
try:
    other.channel().queue_declare(server_named, passive=True)
except ChannelClosedByBroker as error:
    seen['locked'] = error.reply_code
other.close()

try:
    connect(credentials=pika.PlainCredentials('guest', 'wrong'))
except ProbableAuthenticationError as error:
    seen['password'] = '403' in str(error)

beating = connect(heartbeat=1)
beating.process_data_events(time_limit=3.5)
seen['heartbeat'] = beating.is_open
beating.close()

for queue in ('pika', 'pika-small'):
    channel.queue_delete(queue)
channel.exchange_delete('pika-topic')
connection.close()
print(json.dumps(seen))
