/** What is to be typed before a unit can run, as comments of the unit. */
import { oneLine, shellWord } from './shell.ts';
import { capabilitiesOf, managedState, type UnitRequest, unique, writtenBy } from './unit-request.ts';
import { directoryOf, isBelow, isClosed, isOfOthers } from './whose.ts';

/** What is to be done before, as comments to copy from. */
export function preface(request: UnitRequest): string {
  const { command, maker, configPath, real, files, proxyVariable, user } = request;
  const { name } = user;
  const directories = writtenBy(request).filter((path) => !isShared(path));
  const program = maker.map(shellWord).join(' ');
  const isOther = command.join('\n') !== maker.join('\n');
  const starts = isOther ? ` --program ${command.map(shellWord).join(' ')}` : '';
  const lines = [
    'Made by `shadow-agent unit` for this configuration; make it anew when the configuration changes. To install:',
    '',
    ...(user.uid === undefined
      ? [`  useradd --system --no-create-home --shell /usr/sbin/nologin ${name}`]
      : []),
    `  ${unlessSwapped(real.key, request, (path) => `chown -h ${name} ${path} && chmod 400 ${path}`)}`,
    // What was made on the operator's machine may let nobody else in.
    ...searchLines(request).map((line) => `  ${line}`),
    `  ${unlessSwapped(real.config, request, (path) => openConfig(path, request))}`,
    ...unique(real.certificates).map(
      (one) => `  ${unlessSwapped(one, request, (path) => `chmod a+r ${path}`)}`,
    ),
    ...directories.flatMap((path) => grant(path, request)).map((line) => `  ${line}`),
    // Only root could keep a file's owner that is not the agent. An install replaces a link, and leaves alone where it leads.
    ...files
      .filter(({ path, owner }) => owner === undefined && !isOfOthers(directoryOf(path), configPath))
      .map(({ path }) => `  [ ! -e ${shellWord(path)} ] || chown -h ${name}: ${shellWord(path)}`),
    ...stateLines(request).map((line) => `  ${line}`),
    // An empty unit file would mask the service.
    `  unit=$(${program} unit --config ${shellWord(configPath)} --user ${name}${starts}) && printf '%s\\n' "$unit" >/etc/systemd/system/shadow-agent.service`,
    '  systemctl daemon-reload && systemctl enable --now shadow-agent',
    ...(proxyVariable === undefined ? [] : ['', remarkOn(proxyVariable, configPath)]),
  ];
  // Where a link leads, another one may have named: no name may become a line of the unit.
  return lines.map((line) => `# ${oneLine(line)}`.trimEnd()).join('\n');
}

function remarkOn(proxyVariable: string, configPath: string): string {
  return `${proxyVariable} is set where this was made, but not for the service: if it needs the proxy, set "proxy" in ${shellWord(configPath)}.`;
}

/** To the user's group; to the user alone where it holds the password of a proxy, and others are in that. */
function openConfig(path: string, { user: { name }, isSecretShared }: UnitRequest): string {
  return isSecretShared === true
    ? `chown -h ${name} ${path} && chmod 400 ${path}`
    : `chgrp -h "$(id -gn ${name})" ${path} && chmod g+r,o= ${path}`;
}

/** What lets the user of the service through to what it reads, and where on any way it is kept out. */
function searchLines({ configPath, readFrom, passed, user: { name } }: UnitRequest): string[] {
  const opened = readFrom.filter((path) => !isClosed(path, configPath));
  return [
    ...(opened.length === 0 ? [] : [`chmod a+x ${shellWords(opened)}`]),
    ...passed
      .filter(({ path, isClosed }) => isClosed && !opened.includes(path))
      .map(
        ({ path }) =>
          `# ${path} is closed to ${name}, and is to stay so: move what the service uses there to a directory of its own, or make the unit for a user who may enter it, by --user`,
      ),
  ];
}

/** The state directory, where systemd does not make it, and what to know of it. */
function stateLines(request: UnitRequest): string[] {
  const { stateDir, configPath, user } = request;
  const { name } = user;
  const managed = managedState(stateDir);
  if (managed?.directive === 'RuntimeDirectory')
    return ['# /run is emptied when the device starts: previous files, and what is desired, are gone then'];
  if (managed !== undefined) return closedTargets(request);
  const path = shellWord(stateDir);
  const line = `[ -d ${path} ] || install -d -m 700 -o ${name} ${path}`;
  const remark = `# if ${stateDir} is there already: nobody but ${name} gets into it, who must own it, and be let in to what is above`;
  return isOfOthers(stateDir, configPath) ? [line, remark] : [line];
}

/** What lies in a state directory nobody else gets to. */
function closedTargets({ files, stateDir, user: { name } }: UnitRequest): string[] {
  const within = files.filter(({ path }) => isBelow(path, [stateDir]));
  return within.map(
    ({ path }) =>
      `# nobody but ${name} can read ${path}: ${stateDir} is the state directory, closed to all others`,
  );
}

/** Where another than root may write, as the agent, there may be a link to a file of root's in the place of one that root is to open. */
function unlessSwapped(path: string, request: UnitRequest, commandOf: (path: string) => string): string {
  const one = shellWord(path);
  const command = commandOf(one);
  const others = request.passed.flatMap(({ path, isOthers }) => (isOthers === true ? [path] : []));
  const isWithin = isBelow(path, [...writtenBy(request), request.stateDir, ...others]);
  if (!isWithin) return command;
  return `if [ -L ${one} ]; then echo ${one} 'is a link where others than root may put one: left as it is' >&2; else ${command}; fi`;
}

/** Everybody may write there as it is. */
function isShared(directory: string): boolean {
  return ['/tmp', '/var/tmp'].includes(directory);
}

/** What lets the user of the service write to the directory of a target; one that is there stays as it is. */
function grant(directory: string, request: UnitRequest): string[] {
  const path = shellWord(directory);
  const user = request.user.name;
  if (!isOfOthers(directory, request.configPath))
    return [
      `[ -d ${path} ] || install -d -o ${user} ${path}    # if another's: chgrp "$(id -gn ${user})" ${path} && chmod g+wx ${path}`,
    ];
  const remark = `# ${directory} is the system's or an account's, not to be given away: keep the file in a directory of its own`;
  if (directory === '/') return [`${remark}; this unit does not let the agent write there`];
  return [
    `${remark}, or make the unit for its owner, by --user`,
    ...(capabilitiesOf(request).length > 0
      ? [
          `# With "owner" this unit may change the owner of all that is in ${directory} (CAP_CHOWN): an agent that is`,
          '# taken over can take it for itself, and the system with it',
        ]
      : []),
  ];
}

function shellWords(paths: readonly string[]): string {
  return unique(paths).map(shellWord).join(' ');
}
