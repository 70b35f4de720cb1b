// PostgreSQL's protocol (version 3), as far as this application needs it: sign in with SCRAM-SHA-256, send simple
// queries, read text rows. One connection that is made again after it broke; queries wait for each other.
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from "node:crypto";
import { connect } from "node:net";

const TIMEOUT_MS = 5000;

export class Postgres {
  #settings;
  #connection;
  #turn = Promise.resolve();

  constructor({ host, port = 5432, user, password, database }) {
    this.#settings = { host, port: Number(port), user, password, database };
  }

  // Rows as objects of texts. One statement, no parameters: texts go through `literal`.
  query(sql) {
    const result = this.#turn.then(() => this.#run(sql));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #run(sql) {
    this.#connection ??= await Connection.open(this.#settings);
    try {
      return await this.#connection.query(sql);
    } catch (error) {
      if (!error.code) {
        this.close();
      }
      throw error;
    }
  }

  close() {
    this.#connection?.destroy();
    this.#connection = undefined;
  }
}

// A text as an SQL literal. Backslashes are plain with standard_conforming_strings, the server's default.
export function literal(text) {
  if (text.includes("\0")) {
    throw new Error("a text with a zero byte cannot be stored");
  }
  return `'${text.replaceAll("'", "''")}'`;
}

class Connection {
  #socket;
  #buffer = Buffer.alloc(0);
  #waiting;
  #failure;

  static async open(settings) {
    const connection = new Connection(settings);
    try {
      await connection.#signIn(settings);
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return connection;
  }

  constructor({ host, port }) {
    this.#socket = connect({ host, port });
    this.#socket.setTimeout(0);
    this.#socket.on("data", (chunk) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#wake();
    });
    this.#socket.on("error", (error) => this.#fail(new Error(`database connection: ${error.message}`)));
    this.#socket.on("close", () => this.#fail(new Error("the database closed the connection")));
  }

  destroy() {
    this.#socket.destroy();
  }

  async query(sql) {
    this.#send("Q", Buffer.from(`${sql}\0`));
    const rows = [];
    let columns = [];
    let failure;
    for (;;) {
      const { type, body } = await this.#message();
      if (type === "T") {
        columns = columnNames(body);
      } else if (type === "D") {
        rows.push(row(columns, body));
      } else if (type === "E") {
        failure = serverError(body);
      } else if (type === "Z") {
        if (failure) {
          throw failure;
        }
        return rows;
      }
    }
  }

  async #signIn({ user, password, database }) {
    const parameters = Buffer.from(`user\0${user}\0database\0${database}\0client_encoding\0UTF8\0\0`);
    const head = Buffer.alloc(8);
    head.writeInt32BE(parameters.length + 8, 0);
    head.writeInt32BE(196608, 4);
    this.#socket.write(Buffer.concat([head, parameters]));
    let scram;
    for (;;) {
      const { type, body } = await this.#message();
      if (type === "E") {
        throw serverError(body);
      }
      if (type === "Z") {
        return;
      }
      if (type === "R") {
        scram = this.#authenticate(body, scram, user, password);
      }
    }
  }

  // Answers one request for authentication; what it returns is handed back with the next one.
  #authenticate(body, scram, user, password) {
    const kind = body.readInt32BE(0);
    const data = body.subarray(4);
    if (kind === 3) {
      this.#send("p", Buffer.from(`${password}\0`));
    } else if (kind === 5) {
      const inner = createHash("md5").update(password + user).digest("hex");
      const outer = createHash("md5").update(inner).update(data).digest("hex");
      this.#send("p", Buffer.from(`md5${outer}\0`));
    } else if (kind === 10) {
      const first = `n=,r=${randomBytes(18).toString("base64")}`;
      const message = Buffer.from(`n,,${first}`);
      const length = Buffer.alloc(4);
      length.writeInt32BE(message.length);
      this.#send("p", Buffer.concat([Buffer.from("SCRAM-SHA-256\0"), length, message]));
      return { first };
    } else if (kind === 11) {
      const answer = scramAnswer(scram.first, data.toString(), password);
      this.#send("p", Buffer.from(answer.message));
      return answer;
    } else if (kind === 12) {
      const given = Buffer.from(data.toString().replace(/^v=/, ""), "base64");
      if (given.length !== scram.signature.length || !timingSafeEqual(given, scram.signature)) {
        throw new Error("the database could not prove who it is");
      }
    } else if (kind !== 0) {
      throw new Error(`the database asks for an unknown authentication (${kind})`);
    }
    return scram;
  }

  #send(type, body) {
    const head = Buffer.alloc(5);
    head.write(type);
    head.writeInt32BE(body.length + 4, 1);
    this.#socket.write(Buffer.concat([head, body]));
  }

  async #message() {
    while (this.#buffer.length < 5 || this.#buffer.length < this.#buffer.readInt32BE(1) + 1) {
      if (this.#failure) {
        throw this.#failure;
      }
      await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("the database did not answer in time")), TIMEOUT_MS);
        this.#waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const end = this.#buffer.readInt32BE(1) + 1;
    const message = { type: String.fromCharCode(this.#buffer[0]), body: this.#buffer.subarray(5, end) };
    this.#buffer = this.#buffer.subarray(end);
    return message;
  }

  #wake() {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  #fail(error) {
    this.#failure ??= error;
    this.#wake();
  }
}

// The client's final message of RFC 5802, and the signature that the server has to answer with.
export function scramAnswer(clientFirst, serverFirst, password) {
  const part = (name) => serverFirst.split(",").find((text) => text.startsWith(`${name}=`))?.slice(2) ?? "";
  const nonce = part("r");
  if (!nonce.startsWith(clientFirst.split("r=")[1])) {
    throw new Error("the database answered with a foreign nonce");
  }
  const salted = pbkdf2Sync(password.normalize("NFKC"), Buffer.from(part("s"), "base64"), Number(part("i")), 32, "sha256");
  const mac = (key, text) => createHmac("sha256", key).update(text).digest();
  const clientKey = mac(salted, "Client Key");
  const withoutProof = `c=biws,r=${nonce}`;
  const transcript = `${clientFirst},${serverFirst},${withoutProof}`;
  const signature = mac(createHash("sha256").update(clientKey).digest(), transcript);
  const proof = Buffer.from(clientKey.map((byte, at) => byte ^ signature[at])).toString("base64");
  return { message: `${withoutProof},p=${proof}`, signature: mac(mac(salted, "Server Key"), transcript) };
}

function columnNames(body) {
  const names = [];
  let at = 2;
  for (let left = body.readInt16BE(0); left > 0; left -= 1) {
    const end = body.indexOf(0, at);
    names.push(body.toString("utf8", at, end));
    at = end + 19;
  }
  return names;
}

function row(columns, body) {
  const values = {};
  let at = 2;
  for (const name of columns) {
    const length = body.readInt32BE(at);
    at += 4;
    values[name] = length < 0 ? null : body.toString("utf8", at, at + length);
    at += Math.max(length, 0);
  }
  return values;
}

function serverError(body) {
  const fields = {};
  for (const field of body.toString().split("\0")) {
    fields[field[0]] = field.slice(1);
  }
  return Object.assign(new Error(fields.M ?? "the database refused"), { code: fields.C ?? "XX000" });
}
