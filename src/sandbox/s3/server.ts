import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Faults } from '../faults.ts';
import type { Sessions } from '../sessions.ts';
import { Handler, type RequestRecord } from './handler.ts';
import { type ObjectCreated, ObjectStore } from './store.ts';

export type { RequestRecord } from './handler.ts';
export type { ObjectCreated } from './store.ts';

export interface S3Options {
  /** The keys that are accepted. */
  sessions: Sessions;
  /** The s3-* switches. */
  faults: Faults;
  region: string;
  /** PEM. */
  tls: { cert: string; key: string };
  /** A directory of its own, where the bytes of objects lie; emptied at the start and at the end. */
  dir: string;
  /** 0, or nothing, takes a free one. */
  port?: number;
  /** Called when an object is visible; nobody waits for it but `close`. */
  onObjectCreated?: (event: ObjectCreated) => void | Promise<void>;
  log?: (line: string) => void;
  /** Wall-clock milliseconds. */
  now?: () => number;
}

export interface S3Server {
  port: number;
  /** `https://127.0.0.1:port` */
  url: string;
  store: ObjectStore;
  /** The last 1000 requests, oldest first. */
  requests: RequestRecord[];
  close(): Promise<void>;
}

/**
 * Serves S3 on loopback over HTTPS, by path (`https://127.0.0.1:port/bucket/key`) and by virtual host. Signatures are
 * verified, objects are kept until `close`.
 */
export async function startS3(options: S3Options): Promise<S3Server> {
  const { log = () => undefined, now = Date.now } = options;
  const running = new Set<Promise<void>>();
  const announce = async (event: ObjectCreated) => {
    try {
      await options.onObjectCreated?.(event);
    } catch (error) {
      log(`S3 cannot deliver ${event.eventName} of s3://${event.bucket}/${event.key}: ${String(error)}`);
    }
  };
  const track = (work: Promise<void>) => {
    running.add(work);
    void work.finally(() => running.delete(work));
  };
  const store = new ObjectStore({
    dir: options.dir,
    region: options.region,
    now,
    onCreated: (event) => track(announce(event)),
  });
  const handler = new Handler({ ...options, store, log, now });
  const server = createServer({ cert: options.tls.cert, key: options.tls.key, keepAliveTimeout: 20_000 });
  // An upload takes as long as it takes.
  server.requestTimeout = 0;
  const serve = (expectsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) =>
    track(handler.serve(request, response, expectsContinue));
  server.on('request', serve(false));
  server.on('checkContinue', serve(true));
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('S3 listens on no port');
  return {
    port: address.port,
    url: `https://127.0.0.1:${address.port}`,
    store,
    requests: handler.requests,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
      while (running.size > 0) await Promise.all(running);
      await store.close();
    },
  };
}
