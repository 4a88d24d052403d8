/** A sandbox whose publisher is watched: uploads with their events, what is delivered, and what is desired then. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isJsonObject, type JsonObject, type JsonValue, member } from '../../src/core/json.ts';
import type { Route } from '../../src/sandbox/lambdas.ts';
import type { ObjectCreated } from '../../src/sandbox/s3/server.ts';
import { s3Event } from '../../src/sandbox/s3-event.ts';
import { bucketName, Sandbox } from '../../src/sandbox/sandbox.ts';

export const thing: Route = { bucket: bucketName, prefix: '', target: 'things/test-thing', property: 's3' };

export class Published {
  readonly sandbox: Sandbox;
  readonly log: string[];

  private constructor(sandbox: Sandbox, log: string[]) {
    this.sandbox = sandbox;
    this.log = log;
  }

  static async start(): Promise<Published> {
    const log: string[] = [];
    const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-'));
    return new Published(await Sandbox.start({ dir, log: (line) => log.push(line) }), log);
  }

  async close(): Promise<void> {
    await this.sandbox.close();
    await rm(this.sandbox.dir, { recursive: true, force: true });
  }

  async put(key: string, content: string, bucket = bucketName): Promise<void> {
    await this.sandbox.s3.store.put(bucket, key, content);
  }

  desired(thingName = 'test-thing', property = 's3', shadowName?: string): JsonValue | undefined {
    const state = this.sandbox.shadow(thingName, shadowName)?.['state'];
    const section = isJsonObject(state) ? member(state, 'desired') : undefined;
    return isJsonObject(section) ? member(section, property) : undefined;
  }

  hashOf(thingName = 'test-thing'): JsonValue | undefined {
    const value = this.desired(thingName);
    return isJsonObject(value) ? value['hash'] : undefined;
  }

  versionOf(thingName = 'test-thing'): JsonValue | undefined {
    return this.sandbox.shadow(thingName)?.['version'];
  }

  /** Uploads without telling the publisher, and yields the event of each. */
  async eventsOf(
    uploads: ReadonlyArray<readonly [key: string, content: string]>,
    bucket = bucketName,
    form = s3Event,
  ): Promise<JsonObject[]> {
    const events: JsonObject[] = [];
    const { lambdas } = this.sandbox;
    const handle = lambdas.handle;
    let nowMs = Date.now();
    lambdas.handle = (created: ObjectCreated) => {
      nowMs += 1;
      events.push(form(created, 'us-east-1', nowMs));
    };
    for (const [key, content] of uploads) await this.put(key, content, bucket);
    lambdas.handle = handle;
    return events;
  }

  /** Hands events to the publisher, one after the other. */
  async deliver(events: readonly JsonValue[], settings = thing): Promise<void> {
    for (const event of events) {
      this.sandbox.lambdas.invoke(settings, event);
      await this.sandbox.lambdas.idle();
    }
  }
}
