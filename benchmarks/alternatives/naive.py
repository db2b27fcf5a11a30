"""The same code and dependencies with everything imported and every client built, as tutorials do."""

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes import SQSEvent
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer
from aws_lambda_powertools.utilities.parser import BaseModel

from linkrunner_webhooks import deliver_function, providers, receive_function

logger = Logger()
metrics = Metrics()
app = APIGatewayHttpResolver()
processor = BatchProcessor(event_type=EventType.SQS)
persistence = DynamoDBPersistenceLayer(table_name="claims")
provider = parameters.SecretsProvider()
clients = [boto3.client(service) for service in ("sqs", "secretsmanager", "dynamodb")]
known = [providers.load(name) for name in providers.names()]

receive = receive_function.handler
deliver = deliver_function.handler
