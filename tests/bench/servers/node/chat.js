// A chat with Node's net: a line from one client is written to every other; who does not take it in time is dropped.
const net = require('node:net');

const limit = 262144; // bytes that may wait for one client
const clients = new Set();
const server = net.createServer({ noDelay: true }, (client) => {
  clients.add(client);
  client.on('error', () => client.destroy());
  client.on('close', () => clients.delete(client));
  let rest = '';
  client.setEncoding('latin1'); // one character for each byte
  client.on('data', (text) => {
    const end = text.lastIndexOf('\n') + 1;
    if (end === 0) {
      rest += text;
      return;
    }
    const lines = Buffer.from(rest + text.slice(0, end), 'latin1');
    rest = text.slice(end);
    for (const other of clients) {
      if (other === client) continue;
      if (other.writableLength + lines.length > limit) other.destroy();
      else other.write(lines);
    }
  });
});
server.listen({ port: Number(process.argv[2] ?? 7007), host: '127.0.0.1' }, () =>
  console.log(`listening on 127.0.0.1:${server.address().port}`));
