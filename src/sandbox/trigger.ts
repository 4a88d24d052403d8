import { createHash } from 'node:crypto';
import type { ObjectCreated, S3Server } from './s3/server.ts';
import type { ShadowService } from './shadow-service.ts';

/** Which uploads say what to which shadow. */
export interface Route {
  bucket: string;
  /** Start of the key; the longest that fits wins. */
  prefix: string;
  thingName: string;
  shadowName?: string;
  property: string;
}

/**
 * What happens after an upload: the object is hashed, and its URL and hash are written into the desired state of the
 * thing, as the tutorial's Lambda does. Events are worked off one after the other.
 */
export class Trigger {
  readonly #shadows: ShadowService;
  readonly #routes: Route[];
  readonly #store: () => S3Server['store'];
  #queue: Promise<void> = Promise.resolve();

  constructor(shadows: ShadowService, routes: Route[], store: () => S3Server['store']) {
    this.#shadows = shadows;
    this.#routes = routes;
    this.#store = store;
  }

  /** Adds a route; it outranks others only by a longer prefix. */
  route(route: Route): void {
    this.#routes.push(route);
  }

  /** Takes one event. @throws Error when the object cannot be read or the shadow refuses the update */
  handle(event: ObjectCreated): Promise<void> {
    const done = this.#queue.then(() => this.#publish(event));
    this.#queue = done.catch(() => undefined);
    return done;
  }

  async #publish({ bucket, key, versionId }: ObjectCreated): Promise<void> {
    const route = this.#routes
      .filter((candidate) => candidate.bucket === bucket && key.startsWith(candidate.prefix))
      .sort((a, b) => b.prefix.length - a.prefix.length)[0];
    if (route === undefined) return;
    const hash = createHash('sha256');
    const { file } = await this.#store().get(bucket, key, versionId);
    for await (const chunk of file.createReadStream()) hash.update(chunk);
    const value = { url: `s3://${bucket}/${key}`, hash: hash.digest('hex') };
    const update = { state: { desired: { [route.property]: value } } };
    const payload = new TextEncoder().encode(JSON.stringify(update));
    const reply = this.#shadows.update(route.thingName, route.shadowName, payload);
    if (!reply.ok) throw new Error(`the shadow of ${route.thingName} refuses the update: ${reply.message}`);
  }
}
