/**
 * Large objects by several ranged requests at a time, as the body of one answer: in order, of one ETag, and with a
 * bounded number of bytes that have run ahead of what was read.
 */
import { sourceOf } from '../core/artifact.ts';
import { AgentError } from '../core/errors.ts';
import { otherRange, rangeFault } from '../core/object-faults.ts';
import { firstSpans, leastParallelBytes, nextSpan, type Span } from '../core/ranges.ts';
import { Ahead, type Chunk, isBusy, type Segment } from './ahead.ts';
import type { Clock } from './clock.ts';
import { Pool } from './runtime.ts';
import type { GetObject, ObjectAnswer, ObjectRequest } from './s3.ts';

type Answer = Extract<ObjectAnswer, { kind: 'full' | 'rest' }>;

const mebibyte = 1024 * 1024;
/** What an attempt whose link was cut, or silent, must bring before it asks for more than one range. */
const provenBytes = 16 * mebibyte;
/** A new one has no more than so many ranges under way before it has brought so much: what runs ahead is lost at a kill. */
const [firstLanes, firstLanesBytes] = [4, 8 * mebibyte];
/** At this speed, bytes a second, the device has enough to do with one range at a time. */
const plenty = 100 * mebibyte;

export interface RangesOptions {
  getObject: GetObject;
  /** How many ranges are asked for or received at a time, by all downloads together; each may have one all the same. */
  connections: number;
  clock: Clock;
}

/** A GET that fetches what is large in ranges; the desired state must tell the size. Everything else goes as it is. */
export function createRanges(options: RangesOptions): GetObject {
  const { getObject, connections } = options;
  const shared: Shared = { ...options, ahead: new Ahead() };
  return async (request, signal) => {
    const { artifact, offset, length, ifMatch, ifNoneMatch } = request;
    const rest = (artifact.size ?? 0) - offset;
    const isPinned = offset === 0 ? ifNoneMatch === undefined : ifMatch !== undefined;
    const isOne = connections === 1 || length !== undefined || rest < leastParallelBytes || !isPinned;
    return isOne ? getObject(request, signal) : new RangedObject(shared, request, signal).open();
  };
}

interface Shared extends RangesOptions {
  ahead: Ahead;
  /** The object of which several ranges brought nothing: a link that is too slow for them may do for one. */
  silent?: string;
}

interface Facts {
  etag: string;
  size: number;
}

class RangedObject {
  readonly #shared: Shared;
  readonly #request: ObjectRequest;
  readonly #stop = new AbortController();
  readonly #outer: AbortSignal;
  readonly #signal: AbortSignal;
  readonly #pool = new Pool();
  readonly #source: string;
  /** The attempt before was cut, or silent. */
  readonly #isWary: boolean;
  /** In order and without a gap, from the first byte that was not read. */
  #segments: Segment[] = [];
  /** Where the next range starts. */
  #asked: number;
  /** Bytes that came in this attempt. */
  #came = 0;
  readonly #startedMs: number;
  readonly #facts = Promise.withResolvers<Facts>();
  #known: Facts | undefined;
  #kept: Segment[] = [];

  constructor(shared: Shared, request: ObjectRequest, signal: AbortSignal) {
    this.#shared = shared;
    this.#request = request;
    this.#outer = signal;
    this.#signal = AbortSignal.any([signal, this.#stop.signal]);
    this.#asked = request.offset;
    this.#startedMs = shared.clock.nowMs();
    this.#source = sourceOf(request.artifact);
    this.#isWary = request.offset > 0 || shared.silent === this.#source;
    this.#facts.promise.catch(() => undefined);
  }

  /** @throws what the first request throws */
  async open(): Promise<ObjectAnswer> {
    const { offset, artifact, ifMatch } = this.#request;
    const { connections, ahead: all, getObject } = this.#shared;
    const size = artifact.size ?? 0;
    this.#kept = all.adopt(this.#source, ifMatch, offset);
    const alone = { start: offset, end: Math.min(offset + provenBytes, size, this.#kept[0]?.start ?? size) };
    const free = Math.max(1, Math.min(firstLanes, connections - all.active));
    const spans = this.#isWary ? [alone] : firstSpans(size, free);
    const [first, ...ahead] = spans.map((span) => this.#add(span));
    if (first === undefined) return await getObject(this.#request, this.#outer);
    for (const segment of ahead) void this.#receive(segment);
    try {
      const answer = await this.#get(first);
      if (answer.kind !== 'rest' || answer.first !== offset || !isPinned(answer)) {
        this.#end();
        return await this.#odd(answer);
      }
      this.#known = { etag: answer.etag, size: answer.size };
      this.#facts.resolve(this.#known);
      void this.#fill(first, answer.body);
      return { ...answer, kind: offset === 0 ? 'full' : 'rest', body: this.#body() };
    } catch (error) {
      this.#end(error);
      throw error;
    }
  }

  /** The first answer is no range of a known object: it says so by itself, or is asked for as if there were no ranges. */
  async #odd(answer: ObjectAnswer): Promise<ObjectAnswer> {
    if ('body' in answer) answer.body.cancel().catch(() => undefined);
    else if (this.#request.offset > 0) return answer;
    return await this.#shared.getObject(this.#request, this.#outer);
  }

  /** A range that is read waits for its reader, one that is not read for room. */
  #isAhead(segment: Segment): boolean {
    if (this.#stop.signal.aborted) return false;
    return segment === this.#segments[0] ? segment.held >= mebibyte : this.#shared.ahead.isFull;
  }

  #isPlenty(): boolean {
    const ms = this.#shared.clock.nowMs() - this.#startedMs;
    return this.#came * 1000 > plenty * ms;
  }

  /** How many ranges there is use for. */
  #lanes(): number {
    const { connections } = this.#shared;
    if (this.#isPlenty() || (this.#isWary && this.#came < provenBytes)) return 1;
    return this.#came < firstLanesBytes ? Math.min(firstLanes, connections) : connections;
  }

  #add(span: Span): Segment {
    const segment: Segment = { ...span, chunks: [], held: 0, ended: false };
    this.#segments.push(segment);
    this.#shared.ahead.open(segment);
    this.#asked = span.end;
    return segment;
  }

  #get({ start, end }: Segment): Promise<ObjectAnswer> {
    const { artifact, ifMatch } = this.#request;
    const request = { artifact, offset: start, length: end - start, ifMatch: this.#known?.etag ?? ifMatch };
    return this.#shared.getObject({ ...request, pool: this.#pool }, this.#signal);
  }

  async #receive(segment: Segment): Promise<void> {
    try {
      const answer = await this.#get(segment);
      const facts = await this.#facts.promise;
      if (answer.kind !== 'rest') throw rangeFault(answer.kind);
      const fault = otherRange(answer, { ...facts, first: segment.start });
      if (fault === undefined) return await this.#fill(segment, answer.body);
      answer.body.cancel().catch(() => undefined);
      throw fault;
    } catch (error) {
      segment.error = error;
      this.#shared.ahead.end(segment);
    }
  }

  async #fill(segment: Segment, body: Answer['body']): Promise<void> {
    const { ahead } = this.#shared;
    const reader = body.getReader();
    let got = 0;
    const bytes = Math.min(segment.end, this.#known?.size ?? segment.end) - segment.start;
    try {
      for (;;) {
        while (this.#isAhead(segment)) await ahead.changes();
        const { done, value } = await reader.read();
        if (done || this.#stop.signal.aborted) break;
        got += value.length;
        if (got > bytes) throw rangeFault('longer');
        this.#came += value.length;
        ahead.put(segment, value);
        if (segment !== this.#segments[0]) this.#request.onAhead?.();
      }
      if (got < bytes) throw new AgentError('NETWORK', 'The connection to S3 ended within a range');
    } catch (error) {
      segment.error = error;
    } finally {
      ahead.end(segment);
      reader.cancel().catch(() => undefined);
    }
  }

  #body(): Answer['body'] {
    return new ReadableStream<Chunk>(
      {
        pull: async (controller) => {
          const chunk = await this.#next();
          if (chunk === undefined) controller.close();
          else controller.enqueue(chunk);
        },
        cancel: () => this.#end(this.#outer.reason),
      },
      { highWaterMark: 0 },
    );
  }

  async #next(): Promise<Chunk | undefined> {
    const { ahead } = this.#shared;
    for (;;) {
      if (this.#stop.signal.aborted) return undefined;
      this.#ask();
      const [front] = this.#segments;
      if (front === undefined) {
        this.#end();
        return undefined;
      }
      const chunk = ahead.take(front);
      if (chunk !== undefined) {
        if (front.start >= Math.min(front.end, this.#known?.size ?? front.end)) this.#segments.shift();
        return chunk;
      }
      if (front.error !== undefined) {
        this.#keep();
        this.#end(front.error);
        throw front.error;
      }
      await ahead.changes();
    }
  }

  /** Asks for further ranges, as far as there is use and room for them. */
  #ask(): void {
    const { connections, ahead } = this.#shared;
    const known = this.#known;
    // What comes behind a failed range is not read in this attempt.
    if (known === undefined || this.#segments.some(({ error }) => error !== undefined)) return;
    while (this.#asked < known.size) {
      const [kept] = this.#kept;
      if (kept?.start === this.#asked) {
        this.#segments.push(kept);
        this.#asked = kept.end;
        this.#kept.shift();
        continue;
      }
      const busy = this.#segments.filter(isBusy).length;
      const isEnough = busy >= this.#lanes() || !ahead.hasRoom || ahead.active >= connections;
      if (busy > 0 && isEnough) return;
      const lanes = this.#isPlenty() ? 1 : connections;
      void this.#receive(this.#add(nextSpan(this.#asked, known.size, lanes, kept?.start)));
    }
  }

  /** What has run ahead of a cut or a silence is as good as before: it is of the same ETag. */
  #keep(): void {
    // An attempt that fails is made again, one that was stopped need not be.
    const isStopped = this.#outer.aborted && !(this.#outer.reason instanceof AgentError);
    if (this.#known === undefined || isStopped) return;
    this.#shared.ahead.keep(this.#source, this.#known.etag, [...this.#segments, ...this.#kept]);
    this.#segments = [];
    this.#kept = [];
  }

  #end(error?: unknown): void {
    if (this.#stop.signal.aborted) return;
    const isSilence = error instanceof AgentError && error.code === 'TIMEOUT';
    if (isSilence && this.#came === 0) this.#shared.silent = this.#source;
    this.#stop.abort();
    this.#pool.close();
    this.#facts.reject(this.#stop.signal.reason);
    this.#shared.ahead.drop(this.#segments, this.#kept);
    this.#segments = [];
    this.#kept = [];
  }
}

function isPinned(answer: Answer): answer is Answer & Facts {
  return answer.etag !== undefined && answer.size !== undefined;
}
