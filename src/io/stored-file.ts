/** What the state file says of one file, and what of it still counts. */
import type { Retry } from '../core/errors.ts';
import { refusalOf } from '../core/hook.ts';
import { jsonEqual } from '../core/json.ts';
import type { FileState, StoredFailure, StoredFile } from './state.ts';

/** What is stored for a path; where it was stored for another one, no more than what is the property's own. */
export function storedAt(stored: StoredFile | undefined, path: string): FileState {
  if (stored === undefined) return { path };
  const { property: _, ...file } = stored;
  if (stored.path === path) return file;
  const { signature, held, desired, failure, pending } = stored;
  const ofHook = failure?.code === 'HOOK_FAILED' ? failure : undefined;
  const refused = pending === undefined ? ofHook : (refusalOf(pending) ?? ofHook);
  return {
    path,
    ...(signature === undefined ? {} : { signature }),
    ...(held === undefined ? {} : { held }),
    ...(desired === undefined ? {} : { desired }),
    ...(refused === undefined ? {} : { failure: refused }),
  };
}

/** The class of a failure that was stored: of a hook that failed, only one after a repair is run again. */
export function retryOf({ code, retryAtMs }: StoredFailure): Retry {
  if (retryAtMs === undefined) return 'never';
  return code === 'HOOK_FAILED' ? 'soon' : 'slow';
}

/** The stored failure of what is desired, or of the step that is pending; one of what was replaced or withdrawn is history. */
export function presentFailure({ failure, blocked, desired, pending }: FileState): StoredFailure | undefined {
  if (pending !== undefined && blocked !== undefined) return blocked;
  return jsonEqual(failure?.value, desired) ? failure : undefined;
}
