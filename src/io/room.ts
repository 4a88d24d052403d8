import { stat } from 'node:fs/promises';
import { AgentError } from '../core/errors.ts';
import { DiskFull, roomIn } from './disk.ts';

/** A disk is looked at again after so many bytes: others write to it, too. */
const lookEveryBytes = 4 * 1024 * 1024;
/** At first this part of a file is asked for besides: what the file system needs for its own books (indirect blocks). */
const overhead = 1 / 256;

/** Gives up something for room, if that makes so many bytes of it; true when there was something. */
export type MakeRoom = (bytes: number) => Promise<boolean>;

/** DISK_FULL for as long as other downloads hold the room: nothing that could be given up helps. */
export class RoomHeld extends AgentError {
  constructor(message: string, directory: string) {
    const hint = `wait for the other downloads, or free some room on the file system of ${directory}`;
    super('DISK_FULL', message, { hint });
  }
}

/** What all downloads together still have to write: no two are let in for the same room. */
export class Room {
  /** In the order in which they were let in: an older one keeps what it was promised. */
  readonly #claims: RoomClaim[] = [];

  /** A claim for a file in a directory, on nothing yet. */
  claim(directory: string, makeRoom: MakeRoom): RoomClaim {
    return new RoomClaim(this.#claims, directory, makeRoom);
  }
}

/** The room that one download needs. */
export class RoomClaim {
  readonly #claims: RoomClaim[];
  readonly #directory: string;
  readonly #makeRoom: MakeRoom;
  /** The file system. */
  #device = 0;
  /** Bytes still to be written; undefined where nobody told how many. */
  #missing: number | undefined;
  /** Bytes that may be written before the disk is looked at again. */
  #seen = 0;

  constructor(claims: RoomClaim[], directory: string, makeRoom: MakeRoom) {
    this.#claims = claims;
    this.#directory = directory;
    this.#makeRoom = makeRoom;
  }

  /**
   * Claims room for the bytes that are still to come, behind all other downloads.
   * @throws DiskFull or RoomHeld; then nothing is claimed
   */
  async take(missing: number | undefined): Promise<void> {
    this.release();
    this.#missing = missing;
    this.#device = (await stat(this.#directory)).dev;
    await this.#look(missing ?? 0, (missing ?? 0) * overhead);
  }

  /**
   * Writes bytes for which there is room. It may end all the same: quotas are not seen, and others may be faster.
   * @throws DiskFull, RoomHeld, or what `write` throws
   */
  async write(bytes: number, write: () => Promise<void>): Promise<void> {
    if (bytes > this.#seen) await this.#look(this.#missing ?? bytes);
    for (;;) {
      try {
        await write();
        break;
      } catch (error) {
        if (!(error instanceof DiskFull) || !(await this.#makeRoom(0))) throw error;
      }
    }
    this.#seen -= bytes;
    if (this.#missing !== undefined) this.#missing -= bytes;
  }

  /** Gives back what was claimed. */
  release(): void {
    const at = this.#claims.indexOf(this);
    if (at >= 0) this.#claims.splice(at, 1);
  }

  async #look(bytes: number, besides = 0): Promise<void> {
    for (;;) {
      const room = await roomIn(this.#directory);
      // Nothing may come between this and the claim.
      const held = this.#older();
      if (room - held >= bytes + besides) {
        this.#seen = Math.min(room - held, lookEveryBytes);
        if (!this.#claims.includes(this)) this.#claims.push(this);
        return;
      }
      const short = bytes + besides - room;
      const message = fullMessage(bytes, this.#directory, held);
      if (short <= 0) throw new RoomHeld(message, this.#directory);
      if (!(await this.#makeRoom(short))) throw new DiskFull(message, this.#directory, { short });
    }
  }

  /** Bytes that downloads which were let in before are still to write on the same file system. */
  #older(): number {
    const at = this.#claims.indexOf(this);
    const older = at < 0 ? this.#claims : this.#claims.slice(0, at);
    return older
      .filter((claim) => claim.#device === this.#device)
      .reduce((sum, claim) => sum + Math.max(0, claim.#missing ?? claim.#seen), 0);
  }
}

function fullMessage(bytes: number, directory: string, held: number): string {
  const others = held === 0 ? '' : ` and ${held} are held for other downloads`;
  return `No room for ${bytes} bytes in ${directory}, where 16 MiB or 5 % stay in reserve${others}`;
}
