/**
 * The systemd unit of one configuration: an unprivileged user, everything read-only but what this configuration writes,
 * and no right that no file of it needs. Source of the directives: systemd.exec(5), systemd.service(5).
 */
import type { Problem } from './errors.ts';
import { oneLine, shellWord } from './shell.ts';
import { preface } from './unit-install.ts';
import {
  capabilitiesOf,
  managedState,
  programsOf,
  type UnitRequest,
  unique,
  writtenBy,
} from './unit-request.ts';
import { directoryOf, isBelow, isOfOthers, isWhole } from './whose.ts';

/** Variables that turn the runtime into something else, print secrets, overwrite files, or change whom it trusts. */
export const dangerousVariables = [
  ...['BUN_OPTIONS', 'BUN_BE_BUN', 'BUN_INSPECT', 'BUN_INSPECT_CONNECT_TO', 'BUN_INSPECT_PRELOAD'],
  ...['BUN_CONFIG_VERBOSE_FETCH', 'BUN_CRASH_REPORT_URL', 'BUN_ENABLE_CRASH_REPORTING', 'NODE_CHANNEL_FD'],
  ...['BUN_FEATURE_FLAG_INTERNAL_FOR_TESTING', 'BUN_BYTECODE_DIGEST_OUT', 'BUN_BYTECODE_ORDER_OUT'],
  ...['NODE_OPTIONS', 'NODE_TLS_REJECT_UNAUTHORIZED', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR'],
  ...['SSLKEYLOGFILE', 'LD_PRELOAD', 'LD_LIBRARY_PATH', 'LD_AUDIT', 'DEBUG'],
];

/**
 * What no unit can be made of: a line feed in a path would end a comment, or a directive, and begin another one; and a
 * state directory is closed to all but the agent.
 *
 * @returns a problem for each path that holds a control character, for a state directory that others need or use, and for a program
 * that makes the unit where the agent may write
 */
export function unitProblems(request: UnitRequest): Problem[] {
  const { command, configPath, stateDir, metricsFile, key, certificates, files } = request;
  const named = [
    ...command.map((path) => ({ at: 'executable', path })),
    { at: 'config', path: configPath },
    { at: 'stateDir', path: stateDir },
    ...(metricsFile === undefined ? [] : [{ at: 'metricsFile', path: metricsFile }]),
    { at: 'key', path: key },
    ...certificates.map((path) => ({ at: 'cert, ca', path })),
    ...files.map(({ path }, index) => ({ at: `files[${index}].path`, path })),
  ];
  const forging = named
    .filter(({ path }) => /\p{Cc}/u.test(path))
    .map(({ at, path }) => ({
      path: at,
      message: `"${oneLine(path)}" holds a control character, which cannot be written into a unit`,
      hint: 'give the file or directory another name',
    }));
  const problems = [...forging, ...makerProblems(request)];
  const message = request.isStateForeign
    ? `${stateDir} is there, and holds what is not the agent's, which the service would take for itself`
    : `${stateDir} is the system's or an account's; the agent keeps others out of its state`;
  if (request.isStateForeign !== true && !isWhole(stateDir)) return problems;
  const hint = 'name a directory of its own, such as /var/lib/shadow-agent';
  return [...problems, { path: 'stateDir', message, hint }];
}

/** What the agent may replace is not for root to run. */
function makerProblems(request: UnitRequest): Problem[] {
  const { maker, stateDir, configPath, user } = request;
  const replaceable = [...writtenBy(request), stateDir].filter(
    (directory) => !isOfOthers(directory, configPath),
  );
  const found = user.uid === 0 ? undefined : maker.find((path) => isBelow(path, replaceable));
  if (found === undefined) return [];
  const message = `${found} lies where the agent may write: whatever it puts there root would run to make the unit`;
  const hint = `make it by a copy in a directory of root's, such as /usr/local/bin, with --program ${shellWord(found)}`;
  return [{ path: 'executable', message, hint }];
}

/** The text of the unit; its first lines say how to install it. @param request without `unitProblems` */
export function systemdUnit(request: UnitRequest): string {
  const { command, configPath, thingName, user } = request;
  const capabilities = capabilitiesOf(request);
  const sections = [
    [
      '[Unit]',
      `Description=shadow-agent, which keeps files equal to the shadow of ${thingName}`,
      'Wants=network-online.target time-sync.target',
      'After=network-online.target time-sync.target',
      '# It is started again for ever.',
      'StartLimitIntervalSec=0',
    ],
    [
      '[Service]',
      'Type=exec',
      `ExecStart=${[...command, '--config', configPath].map(execWord).join(' ')}`,
      `User=${user.name}`,
      'Restart=always',
      'RestartSec=5',
      '# It ends within 5 s of SIGTERM, and ends its hooks itself.',
      'KillSignal=SIGTERM',
      'KillMode=mixed',
      'TimeoutStopSec=10',
      'WorkingDirectory=/',
      `UnsetEnvironment=${dangerousVariables.join(' ')}`,
      '# LimitAS would take the runtime its memory; this counts what is really used.',
      'MemoryMax=256M',
      'LimitCORE=0',
    ],
    ['# What it may write to, and what it may not', ...pathsOf(request)],
    ['# What it may do', ...rightsOf(request, capabilities)],
    ['[Install]', 'WantedBy=multi-user.target'],
  ];
  return `${preface(request)}\n\n${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`;
}

function pathsOf(request: UnitRequest): string[] {
  const { configPath, stateDir, key, certificates, passed } = request;
  const managed = managedState(stateDir);
  // To be let in to the root directory is to be let in everywhere.
  const writable = unique([...(managed === undefined ? [stateDir] : []), ...writtenBy(request)]).filter(
    (path) => path !== '/',
  );
  const read = unique([configPath, key, ...certificates]);
  // A file that is mounted by itself is not seen to be replaced, so that its directory is better.
  const readOnly = unique(
    read.map((path) => ([...writable, stateDir].includes(directoryOf(path)) ? path : directoryOf(path))),
  );
  // Also where a link leads.
  const led = passed.map(({ path }) => path);
  const used = [...writable, ...read, ...programsOf(request), stateDir, ...led];
  const usesHome = used.some((path) => isBelow(path, ['/home', '/root', '/run/user']));
  const usesTmp = used.some((path) => isBelow(path, ['/tmp', '/var/tmp']));
  return [
    'ProtectSystem=strict',
    ...stateLines(managed),
    // With a dash: a directory that is missing is told in the shadow, and does not keep all else from running.
    `ReadWritePaths=${writable.map((path) => word(`-${path}`)).join(' ')}`,
    `ReadOnlyPaths=${readOnly.map((path) => word(`-${path}`)).join(' ')}`,
    `ProtectHome=${usesHome ? 'read-only' : 'yes'}`,
    `PrivateTmp=${usesTmp ? 'no' : 'yes'}`,
  ];
}

function stateLines(managed: ReturnType<typeof managedState>): string[] {
  if (managed === undefined) return [];
  const { directive, name } = managed;
  const lines = [`${directive}=${word(name)}`, `${directive}Mode=0700`];
  // systemd would remove it at each end of the service.
  return directive === 'RuntimeDirectory' ? [...lines, 'RuntimeDirectoryPreserve=yes'] : lines;
}

function rightsOf({ files }: UnitRequest, capabilities: readonly string[]): string[] {
  const hasHooks = files.some(({ onInstall }) => onInstall !== undefined);
  const isPlain = capabilities.length === 0 && !hasHooks;
  const setsIds = files.some(({ mode = 0 }) => (mode & 0o6000) !== 0);
  return [
    ...(hasHooks
      ? ['# Hooks run in here too: give back what one needs, such as NoNewPrivileges=no for sudo.']
      : []),
    `CapabilityBoundingSet=${capabilities.join(' ')}`,
    `AmbientCapabilities=${capabilities.join(' ')}`,
    'NoNewPrivileges=yes',
    `PrivateUsers=${isPlain ? 'yes' : 'no'}`,
    'PrivateDevices=yes',
    'PrivateMounts=yes',
    'DevicePolicy=closed',
    'ProtectClock=yes',
    'ProtectControlGroups=yes',
    'ProtectHostname=yes',
    'ProtectKernelLogs=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelTunables=yes',
    'ProtectProc=invisible',
    'RemoveIPC=yes',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK',
    'RestrictNamespaces=yes',
    'RestrictRealtime=yes',
    `RestrictSUIDSGID=${setsIds ? 'no' : 'yes'}`,
    'LockPersonality=yes',
    'KeyringMode=private',
    'SystemCallArchitectures=native',
    'SystemCallErrorNumber=EPERM',
    'SystemCallFilter=@system-service',
    `SystemCallFilter=~@resources${isPlain ? ' @privileged' : ''}`,
    `UMask=${hasHooks ? '0022' : '0077'}`,
  ];
}

/** One word of a directive: specifiers (%) are escaped, and quotes put where they are needed. */
function word(text: string): string {
  const escaped = text.replaceAll('%', '%%');
  if (/^[\w./:@%+=,-]+$/.test(escaped)) return escaped;
  const quoted = escaped.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\t', '\\t');
  return `"${quoted}"`;
}

/** In a command line variables are replaced as well. */
function execWord(text: string): string {
  return word(text).replaceAll('$', '$$$$');
}
