import { Agent } from 'node:https';
import { IoTClient } from '@aws-sdk/client-iot';
import { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';
import { createPublisher, type PublisherClients, type PublisherSettings } from '../cloud/publisher.ts';
import { createWriter } from '../cloud/writer.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import { Queue } from './queue.ts';
import type { ObjectCreated } from './s3/server.ts';
import { eventBridgeEvent, s3Event } from './s3-event.ts';
import type { Session } from './sessions.ts';

/** A notification of the bucket and the publisher behind it. */
export interface Route extends Omit<PublisherSettings, 'queueUrl'> {
  bucket: string;
  /** Start of the key; the longest that fits wins. */
  prefix: string;
  /** Events come through EventBridge, not from S3 itself. */
  eventBridge?: boolean;
}

export interface LambdasOptions {
  region: string;
  /** The keys of the functions' role. */
  session: Session;
  /** PEM of the authority that the endpoints' certificates come from. */
  ca: string;
  routes: Route[];
  log: (line: string) => void;
}

/** Where the services of the sandbox are. */
export interface Endpoints {
  s3: string;
  dataPlane: string;
  controlPlane: string;
}

// AWS waits one and two minutes.
const retryWaitsMs = [500, 1000];
/** What the writer may send to the shadow service: as much as it takes here. */
const requestsPerSecond = 10_000;

/**
 * Runs the functions of src/cloud as AWS Lambda does: the publisher once for each upload, several at a time, and twice
 * more where it throws; the writer behind the queue. They reach the sandbox's services with AWS's own clients.
 */
export class Lambdas {
  /** Events that the publisher has failed on three times. */
  readonly deadLetters: JsonValue[] = [];
  readonly queue: Queue;
  readonly #options: LambdasOptions;
  readonly #routes: Route[];
  readonly #running = new Set<Promise<void>>();
  readonly #closed = new AbortController();
  readonly #agent: Agent;
  #clients: PublisherClients | undefined;
  #writer: ReturnType<typeof createWriter> | undefined;
  #destroy: () => void = () => undefined;
  #queueUrl = '';

  constructor(options: LambdasOptions) {
    this.#options = options;
    this.#routes = options.routes;
    this.#agent = new Agent({ ca: options.ca, keepAlive: true, maxSockets: 50 });
    this.queue = new Queue({ consume: (event) => this.#write(event) });
  }

  /** Tells where the services are, once they are started. */
  connect({ s3, dataPlane, controlPlane }: Endpoints): void {
    const { region, session, log } = this.#options;
    const { accessKeyId, secretAccessKey } = session;
    const common = {
      ...{ region, credentials: { accessKeyId, secretAccessKey }, maxAttempts: 5 },
      requestHandler: { httpsAgent: this.#agent },
    };
    const clients = {
      s3: new S3Client({
        ...{ ...common, endpoint: s3, forcePathStyle: true },
        responseChecksumValidation: 'WHEN_REQUIRED',
      }),
      shadows: new IoTDataPlaneClient({ ...common, endpoint: dataPlane }),
      iot: new IoTClient({ ...common, endpoint: controlPlane }),
      sqs: new SQSClient({ ...common, endpoint: controlPlane }),
    };
    this.#queueUrl = `${controlPlane}/123456789012/shadow-agent`;
    const writers = new IoTDataPlaneClient({ ...common, endpoint: dataPlane });
    const settings = { requestsPerSecond, queueUrl: this.#queueUrl };
    this.#writer = createWriter(settings, { shadows: writers, sqs: clients.sqs }, log);
    this.#clients = clients;
    this.#destroy = () => {
      for (const client of [...Object.values(clients), writers]) client.destroy();
    };
  }

  /** Adds a route; it outranks others only by a longer prefix. */
  route(route: Route): void {
    this.#routes.push(route);
  }

  /** Takes the news of an upload as S3 does; it does not wait for the function. */
  handle(created: ObjectCreated): void {
    const route = this.#routes
      .filter(({ bucket, prefix }) => bucket === created.bucket && created.key.startsWith(prefix))
      .sort((a, b) => b.prefix.length - a.prefix.length)[0];
    if (route === undefined) return;
    const event = route.eventBridge === true ? eventBridgeEvent : s3Event;
    this.invoke(route, event(created, this.#options.region, Date.now()));
  }

  /** Hands an event to the publisher of a route, asynchronously as S3 and EventBridge do. */
  invoke(settings: PublisherSettings, event: JsonValue): void {
    const invocation = this.#invoke(settings, event).finally(() => this.#running.delete(invocation));
    this.#running.add(invocation);
  }

  /** Resolves when no function runs and the queue is empty. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    await this.queue.idle();
  }

  /** Ends what runs; what has not been published by then is not. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.queue.close();
    this.#destroy();
    this.#agent.destroy();
    await Promise.all(this.#running);
  }

  async #invoke({ target, property, shadowName }: PublisherSettings, event: JsonValue): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#closed;
    const named = shadowName === undefined ? {} : { shadowName };
    const settings = { target, property, ...named, queueUrl: this.#queueUrl };
    const publish = createPublisher(settings, started(this.#clients), log);
    for (const waitMs of [...retryWaitsMs, undefined]) {
      try {
        return await publish(event);
      } catch (error) {
        if (signal.aborted) return;
        if (waitMs === undefined) {
          this.deadLetters.push(event);
          log(`the publisher gives up an event: ${String(error)}`);
        } else await pause(waitMs, signal);
      }
    }
  }

  async #write(event: JsonObject): Promise<readonly string[]> {
    const { batchItemFailures } = await started(this.#writer)(event);
    return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
  }
}

function started<T>(one: T | undefined): T {
  if (one === undefined) throw new Error('the sandbox is not started');
  return one;
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
