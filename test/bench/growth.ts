/** Whether a program that is watched for a while uses ever more of something. */
import type { JsonObject } from '../../src/core/json.ts';
import { slopeOf } from './measure.ts';

export interface Sample {
  seconds: number;
  bytes: number;
  descriptors: number;
}

// Until then a runtime fills its pools: this part of the rounds, and this long at least.
const warmUpPart = 1 / 3;
const warmUpSeconds = 30;

interface Limit {
  play: string;
  unit: string;
  of: (sample: Sample) => number;
  /** What chance may do to the ends of the line, however long it is. */
  chance: number;
  perMinute: number;
}

const limits: Limit[] = [
  { play: 'anonymous memory', unit: 'kB', of: ({ bytes }) => bytes / 1e3, chance: 5_500, perMinute: 250 },
  { play: 'descriptors', unit: '', of: ({ descriptors }) => descriptors, chance: 3, perMinute: 0.1 },
];

/** Samples by rounds. Of each round the least counts: what is not collected yet, or in flight, is no growth. */
export class Growth {
  readonly #rounds: Sample[][] = [];
  #round: Sample[] = [];

  get rounds(): number {
    return this.#rounds.length;
  }

  add(sample: Sample): void {
    this.#round.push(sample);
  }

  /** Tells how it stands. */
  endRound(): string {
    const samples = this.#round;
    this.#rounds.push(samples);
    this.#round = [];
    const least = (of: (sample: Sample) => number) => Math.min(...samples.map(of));
    const megabytes = (least(({ bytes }) => bytes) / 1e6).toFixed(1);
    const seconds = Math.round(samples.at(-1)?.seconds ?? 0);
    return `in sync after ${seconds} s, least ${megabytes} MB of memory and ${least((one) => one.descriptors)} descriptors`;
  }

  /**
   * Compares the slope of the least of each round with what chance and the limit allow over that time. Chance counts
   * for less the longer it is.
   */
  judge(): { rows: JsonObject[]; verdict: string } {
    const warm = Math.ceil(this.#rounds.length * warmUpPart);
    const late = this.#rounds
      .slice(warm)
      .filter(([first]) => first !== undefined && first.seconds >= warmUpSeconds);
    const rows = limits.map(({ play, unit, of, chance, perMinute }) => {
      const points = late.map((samples) => lowest(samples, of));
      const minutes = (points.at(-1)?.[0] ?? 0) - (points[0]?.[0] ?? 0);
      return {
        play: `growth of ${play}${unit === '' ? '' : `, ${unit}`} a minute`,
        rounds: points.length,
        from: Math.round(points[0]?.[1] ?? 0),
        to: Math.round(points.at(-1)?.[1] ?? 0),
        ratio: Number(slopeOf(points).toFixed(1)),
        aim: points.length < minPoints ? 'none' : Number((perMinute + chance / minutes).toFixed(1)),
      };
    });
    return { rows, verdict: verdictOf(rows) };
  }
}

const minPoints = 4;

interface Judged {
  play: string;
  rounds: number;
  ratio: number;
  aim: number | string;
}

function verdictOf(rows: readonly Judged[]): string {
  const unjudged = rows.find(({ aim }) => typeof aim === 'string');
  if (unjudged !== undefined) {
    const few = `${unjudged.rounds} rounds after the warm-up are too few`;
    return `Verdict: none on growth, ${few} (--seconds 120 is enough)`;
  }
  const grows = rows.filter(({ ratio, aim }) => typeof aim === 'number' && ratio > aim);
  const told = grows.length === 0 ? rows : grows;
  const texts = told.map(({ play, ratio, aim }) => `${play}: ${ratio}, where ${aim} are allowed`);
  return `Verdict: ${grows.length === 0 ? 'no growth' : 'it grows'} (${texts.join('; ')})`;
}

function lowest(samples: readonly Sample[], of: (sample: Sample) => number): [number, number] {
  const least = samples.reduce((best, sample) => (of(sample) < of(best) ? sample : best));
  return [least.seconds / 60, of(least)];
}
