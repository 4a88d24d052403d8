import type { JsonObject } from '../../src/core/json.ts';
import { mergeReported } from '../../src/core/shadow.ts';
import { Reporter } from '../../src/io/reporter.ts';
import { FakeClock } from './io-fake-clock.ts';
import { RecordingLog } from './io-helpers.ts';

/** The shadow's reported section, as the service keeps it, and all that the reporter sent. */
export class ReportedSection {
  reported: JsonObject = {};
  readonly patches: JsonObject[] = [];
  /** What happens to the requests to come, one each; then all are accepted. */
  script: Array<(patch: JsonObject) => Promise<boolean> | boolean> = [];
  inFlight = 0;
  mostInFlight = 0;

  /** The status of one file, as the shadow has it. */
  statusOf(property = 's3'): unknown {
    return Object(Object(Object(this.reported['shadowAgent']).files))[property];
  }

  readonly send = async (patch: JsonObject): Promise<boolean> => {
    this.patches.push(structuredClone(patch));
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    try {
      const taken = (await this.script.shift()?.(patch)) ?? true;
      if (taken) this.reported = mergeReported(this.reported, patch);
      return taken;
    } finally {
      this.inFlight -= 1;
    }
  };
}

/** A reporter of version 1.2.3 for the properties "s3" and "other", and all that it depends on. */
export class ReporterBench {
  readonly service = new ReportedSection();
  readonly clock = new FakeClock(Date.parse('2026-01-01T00:00:00Z'));
  readonly log = new RecordingLog();
  /** Aborted when the agent stops. */
  readonly stop = new AbortController();
  /** How often the reporter asked for the document. */
  rereads = 0;
  readonly reporter = this.create();

  create(): Reporter {
    const { clock, log, service, stop } = this;
    return new Reporter({
      version: '1.2.3',
      properties: ['s3', 'other'],
      clock,
      log,
      random: () => 0.5,
      send: service.send,
      reread: () => {
        this.rereads += 1;
      },
      signal: stop.signal,
    });
  }
}
