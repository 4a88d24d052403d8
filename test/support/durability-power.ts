/** Cuts the power after each call of a recorded update, and holds what is left against what is promised. */
import * as v from 'valibot';
import { type Bench, newMode } from './durability-bench.ts';
import { Disk, type Found, type Image, own, snapshot } from './durability-disk.ts';
import type { TracedCall } from './durability-syscalls.ts';
import { sha256 } from './world.ts';

/** What a power cut broke. */
export interface Loss {
  promise: 'target' | 'state' | 'reported' | 'previous' | 'intent';
  /** What was found, and after which call. */
  what: string;
}

export interface Recording {
  /** The disk before the first call. */
  start: Found[];
  calls: TracedCall[];
  /** Which of the calls tells the shadow what is installed. */
  report: TracedCall;
  target: string;
  stateFile: string;
  previous: string;
  updated: Image;
}

/** Records one whole update of a device. */
export async function record(bench: Bench, updated: Uint8Array): Promise<Recording> {
  bench.restore();
  const start = bench.roots.flatMap(snapshot);
  const { run, calls } = await bench.traced({ dataBytes: updated.length });
  if (run.child.exitCode !== 0) throw new Error(run.log);
  return {
    start,
    calls,
    report: reportIn(bench, calls, updated),
    target: bench.target,
    stateFile: bench.stateFile,
    previous: bench.previous,
    updated: updatedOf(bench, start, updated),
  };
}

/** What an update makes of the target, whose owner stays. */
export function updatedOf({ target }: Bench, start: Found[], bytes: Uint8Array): Image {
  return { ...own, ...imageOf(start, target), bytes: Buffer.from(bytes), mode: newMode };
}

/** The names of topic and record make a message so much longer, at most; a TLS handshake is longer still. */
const overheadBytes = 300;

/** The call that sent the report of a file. TLS hides what is sent, not how much. */
export function reportIn(bench: Bench, calls: TracedCall[], updated: Uint8Array): TracedCall {
  const { broker } = bench.world.sandbox;
  const topic = `$aws/things/${bench.device.thingName}/shadow/update`;
  const hash = `"hash":"${sha256(updated)}"`;
  const mirror = broker.messages.findLast(
    (message) => message.topic === topic && message.payload.includes(hash),
  );
  const bytes = Buffer.byteLength(mirror?.payload ?? '');
  const report = calls.find(
    ({ call, port, length = 0 }) =>
      call === 'send' && port === broker.port && length >= bytes && length < bytes + overheadBytes,
  );
  if (mirror === undefined || report === undefined) throw new Error('nothing was reported');
  return report;
}

/** All that a power cut at some moment of these calls could break; `calls` may be others than those recorded. */
export function losses(recording: Recording, calls = recording.calls): Loss[] {
  const { start, target, stateFile, report } = recording;
  const disk = new Disk(start);
  const before = { old: imageOf(start, target), state: imageOf(start, stateFile) };
  const states = statesOf(recording);
  const found: Loss[] = [];
  let isReported = false;
  const look = (moment: string): void => {
    const seen = [
      ...targetLosses(recording, disk, before.old, isReported),
      ...stateLosses(recording, disk, before.state, states),
      ...previousLosses(recording, disk, before.old),
      ...intentLosses(recording, disk),
    ];
    found.push(...seen.map((loss) => ({ ...loss, what: `${loss.what} after ${moment}` })));
  };
  look('the start');
  for (const [index, call] of calls.entries()) {
    disk.apply(call);
    isReported ||= call === report;
    look(`call ${index + 1}, ${call.call} ${call.path}`);
  }
  return found;
}

function imageOf(found: Found[], path: string): Image | undefined {
  return found.find((one) => one.path === path)?.image;
}

function same(image: Image | undefined, other: Image | undefined): boolean {
  if (image === undefined || other === undefined) return image === other;
  const { mode, uid, gid } = image;
  return mode === other.mode && uid === other.uid && gid === other.gid && image.bytes.equals(other.bytes);
}

function shown(image: Image | undefined): string {
  if (image === undefined) return 'absent';
  const { bytes, mode, uid, gid } = image;
  return `${bytes.length} bytes, mode 0${mode.toString(8)}, owner ${uid}:${gid}`;
}

function targetLosses(
  { target, updated }: Recording,
  disk: Disk,
  old: Image | undefined,
  isReported: boolean,
): Loss[] {
  return disk.afterPowerCut(target).flatMap((image): Loss[] => {
    if (same(image, updated)) return [];
    const what = `the target is ${shown(image)}`;
    if (!same(image, old)) return [{ promise: 'target', what }];
    return isReported ? [{ promise: 'reported', what }] : [];
  });
}

/** Every text that the agent wrote as state. */
function statesOf({ calls, stateFile }: Recording): Set<string> {
  const writes = calls.filter(({ call, path }) => call === 'write' && path.startsWith(stateFile));
  return new Set(writes.map(({ data = '' }) => Buffer.from(data, 'base64').toString()));
}

function stateLosses(
  { stateFile }: Recording,
  disk: Disk,
  old: Image | undefined,
  states: Set<string>,
): Loss[] {
  return disk.afterPowerCut(stateFile).flatMap((image): Loss[] => {
    if (same(image, old) || (image !== undefined && states.has(image.bytes.toString()))) return [];
    return [{ promise: 'state', what: `the state file is ${shown(image)}` }];
  });
}

/** As soon as the target may be new, the old one must be safe under its other name. */
function previousLosses(
  { target, previous, updated }: Recording,
  disk: Disk,
  old: Image | undefined,
): Loss[] {
  if (old === undefined || !disk.afterPowerCut(target).some((image) => same(image, updated))) return [];
  return disk
    .afterPowerCut(previous)
    .filter((image) => image === undefined || !image.bytes.equals(old.bytes))
    .map((image) => ({ promise: 'previous', what: `the previous file is ${shown(image)}` }));
}

const intentSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    files: v.array(
      v.object({
        pending: v.optional(v.object({ sha256: v.string() })),
        installed: v.optional(v.object({ sha256: v.string() })),
      }),
    ),
  }),
);

/**
 * As soon as the target may be new, the state file must know of it: else the next run would skip a hook, or take the new
 * file for one that somebody has changed.
 */
function intentLosses({ target, stateFile, updated }: Recording, disk: Disk): Loss[] {
  if (!disk.afterPowerCut(target).some((image) => same(image, updated))) return [];
  const sha = sha256(updated.bytes);
  const knows = (image: Image | undefined): boolean => {
    const { success, output } = v.safeParse(intentSchema, image?.bytes.toString());
    if (!success) return false;
    return output.files.some(
      ({ pending, installed }) => pending?.sha256 === sha || installed?.sha256 === sha,
    );
  };
  const lost = disk.afterPowerCut(stateFile).filter((image) => !knows(image));
  return lost.map(() => ({ promise: 'intent', what: 'the state file does not know of the new file' }));
}
