import type { Faults } from './faults.ts';
import type { HttpAnswer } from './https-server.ts';
import { percentDecoded } from './percent.ts';
import type { Pki } from './pki.ts';
import type { Sessions } from './sessions.ts';
import { type Reply, type ShadowService, shadowNamePattern, thingNamePattern } from './shadow-service.ts';
import { type ApiRequest, failure, serveSignedApi } from './signed-api.ts';

export interface DataPlaneOptions {
  pki: Pki;
  shadows: ShadowService;
  sessions: Sessions;
  faults: Faults;
  port?: number;
}

export interface DataPlane {
  readonly port: number;
  close(): Promise<void>;
}

/** The developer guide signs as one, the SDKs' models as the other. */
const signingNames = ['iotdata', 'iotdevicegateway'];

/** Starts the IoT data-plane HTTPS API: shadows, for holders of long-term keys. */
export async function startDataPlane({ shadows, faults, ...options }: DataPlaneOptions): Promise<DataPlane> {
  return serveSignedApi({ ...options, signingNames }, (request) => {
    // The role behind the alias may read its objects, not write shadows.
    if (request.session.sessionToken !== undefined) {
      return { status: 403, errorType: 'ForbiddenException', body: { message: 'Forbidden' } };
    }
    if (faults.take('data-plane-429') !== undefined) return failure(429, 'Rate exceeded');
    return route(shadows, request);
  });
}

function route(shadows: ShadowService, { method, url, body }: ApiRequest): HttpAnswer {
  const { pathname, searchParams } = url;
  const [, shadowOf, namesOf] =
    /^\/(?:things\/([^/]+)\/shadow|api\/things\/shadow\/ListNamedShadowsForThing\/([^/]+))$/.exec(pathname) ??
    [];
  const thingName = percentDecoded(shadowOf ?? namesOf ?? '');
  const shadowName = searchParams.get('name') ?? undefined;
  if (shadowOf === undefined && namesOf === undefined) return failure(404, 'Not Found');
  if (!thingNamePattern.test(thingName)) return failure(400, 'Invalid thing name');
  if (shadowName !== undefined && !shadowNamePattern.test(shadowName))
    return failure(400, 'Invalid shadow name');
  if (namesOf !== undefined) {
    return method === 'GET' ? listPage(shadows, thingName, searchParams) : methodNotAllowed(method);
  }
  if (method === 'GET') return answerOf(shadows.get(thingName, shadowName));
  if (method === 'POST') return answerOf(shadows.update(thingName, shadowName, body));
  if (method === 'DELETE') return answerOf(shadows.delete(thingName, shadowName));
  return methodNotAllowed(method);
}

function listPage(shadows: ShadowService, thingName: string, query: URLSearchParams): HttpAnswer {
  const pageSize = Number(query.get('pageSize') ?? 25);
  const start = Number(query.get('nextToken') ?? 0);
  if (!Number.isInteger(pageSize) || pageSize < 1 || pageSize > 100) return failure(400, 'Invalid page size');
  if (!Number.isInteger(start) || start < 0) return failure(400, 'Invalid next token');
  const names = shadows.listNamedShadows(thingName);
  const end = start + pageSize;
  const more = end < names.length ? { nextToken: String(end) } : {};
  const timestamp = Math.floor(Date.now() / 1000);
  return { status: 200, body: { results: names.slice(start, end), timestamp, ...more } };
}

function answerOf(reply: Reply): HttpAnswer {
  return reply.ok ? { status: 200, body: reply.body } : failure(reply.code, reply.message);
}

function methodNotAllowed(method: string): HttpAnswer {
  return failure(405, `The method ${method} is not allowed`);
}
