import type { Span } from '../core/ranges.ts';

export type Chunk = Uint8Array<ArrayBuffer>;

/** A range that is being received, or was. `start` is the first byte that was not read. */
export interface Segment extends Span {
  chunks: Chunk[];
  /** Bytes in the chunks. */
  held: number;
  /** Nothing more will come. */
  ended: boolean;
  error?: unknown;
}

interface Kept {
  source: string;
  etag: string;
  segments: Segment[];
}

/** So much is held at most, of all downloads together, besides what is read next. */
const mostBytes = 8 * 1024 * 1024;
/** With this much, no further range is asked for. */
const roomBytes = 6 * 1024 * 1024;

/** What ranges have brought and nobody has read yet. All downloads share it. */
export class Ahead {
  #bytes = 0;
  readonly #open = new Set<Segment>();
  /** What had run ahead when an attempt was cut: the next one need not fetch it again. */
  #kept: Kept | undefined;
  #change = Promise.withResolvers<void>();

  get isFull(): boolean {
    return this.#bytes >= mostBytes;
  }

  /** There is use for more: what is held is read faster than it comes. */
  get hasRoom(): boolean {
    return this.#bytes < roomBytes;
  }

  open(segment: Segment): void {
    this.#open.add(segment);
  }

  /** Ranges that are asked for or being received, of all downloads. */
  get active(): number {
    return [...this.#open].filter(isBusy).length;
  }

  put(segment: Segment, chunk: Chunk): void {
    segment.chunks.push(chunk);
    segment.held += chunk.length;
    this.#bytes += chunk.length;
    this.changed();
  }

  /** The next bytes; undefined where none are there. */
  take(segment: Segment): Chunk | undefined {
    const chunk = segment.chunks.shift();
    if (chunk === undefined) return undefined;
    segment.start += chunk.length;
    segment.held -= chunk.length;
    this.#bytes -= chunk.length;
    this.changed();
    return chunk;
  }

  /** Nothing more will come, for whatever reason. */
  end(segment: Segment): void {
    segment.ended = true;
    this.#open.delete(segment);
    this.changed();
  }

  /** Keeps what is held for the next attempt at the same object; it is the last attempt that counts. */
  keep(source: string, etag: string, segments: readonly Segment[]): void {
    this.#forget();
    const held = segments.filter((segment) => segment.held > 0);
    this.#kept = {
      source,
      etag,
      segments: held.map(({ error: _, ...segment }) => ({
        ...segment,
        end: segment.start + segment.held,
        ended: true,
      })),
    };
    for (const segment of segments) this.#close(segment);
  }

  /** Gives what was kept of an object; what was kept of another is dropped. */
  adopt(source: string, etag: string | undefined, from: number): Segment[] {
    const kept = this.#kept;
    if (kept === undefined) return [];
    const isUseful =
      kept.source === source && kept.etag === etag && kept.segments.every(({ start }) => start >= from);
    if (!isUseful) this.#forget();
    this.#kept = undefined;
    return isUseful ? kept.segments : [];
  }

  /** Lets go of what is held. */
  drop(...groups: ReadonlyArray<readonly Segment[]>): void {
    for (const segment of groups.flat()) {
      this.#bytes -= segment.held;
      segment.held = 0;
      segment.chunks = [];
      this.#close(segment);
    }
    this.changed();
  }

  /** Resolves at the next change of any kind. */
  changes(): Promise<void> {
    return this.#change.promise;
  }

  changed(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers();
    resolve();
  }

  #close(segment: Segment): void {
    segment.ended = true;
    this.#open.delete(segment);
  }

  #forget(): void {
    const { segments = [] } = this.#kept ?? {};
    this.#kept = undefined;
    this.drop(segments);
  }
}

/** Bytes of it are still to come. */
export function isBusy({ start, end, held, ended }: Segment): boolean {
  return !ended && start + held < end;
}
