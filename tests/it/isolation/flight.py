# Reads its questions as JSON from standard input, and prints all that it hears.
import base64, json, sys
import pyarrow.flight as flight

address, mine, theirs = sys.argv[1:4]
questions = json.load(sys.stdin)


def field(number, payload):
    length, head = len(payload), b""
    while True:
        head += bytes([(length & 0x7F) | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            return bytes([number << 3 | 2]) + head + payload


def command(name, *fields):
    return field(1, b"type.googleapis.com/arrow.flight.protocol.sql." + name) + field(2, b"".join(fields))


def options(token):
    return flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + token.encode())])


client = flight.connect(f"grpc://{address}")


def heard(attempt):
    try:
        return attempt()
    except Exception as error:
        return repr(error).encode()


def told(table):
    return table.schema.serialize().to_pybytes() + repr(table.to_pylist()).encode()


def ask(token, sql):
    descriptor = flight.FlightDescriptor.for_command(command(b"CommandStatementQuery", field(1, sql.encode())))
    info = client.get_flight_info(descriptor, options(token))
    return told(client.do_get(info.endpoints[0].ticket, options(token)).read_all())


def stolen(kind):
    # Made by the other tenant, used by this one.
    if kind == "ticket":
        query = command(b"CommandStatementQuery", field(1, b"select * from device"))
        info = client.get_flight_info(flight.FlightDescriptor.for_command(query), options(theirs))
        ticket = info.endpoints[0].ticket
        first = heard(lambda: told(client.do_get(ticket, options(mine)).read_all()))
        # The owner still has it.
        assert b"GLOBEX-MARK" in told(client.do_get(ticket, options(theirs)).read_all())
        return first
    action = command(b"ActionCreatePreparedStatementRequest", field(1, b"select * from device"))
    result = next(iter(client.do_action(flight.Action("CreatePreparedStatement", action), options(theirs))))
    body = result.body.to_pybytes()
    # Any: field 2 is the result, whose field 1 is the handle.
    inner = body[2 + body[1] + 1:]
    size, shift, at = 0, 0, 0
    while True:
        size |= (inner[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not inner[at - 1] & 0x80:
            break
    value = inner[at:at + size]
    handle = value[2:2 + value[1]]
    query = command(b"CommandPreparedStatementQuery", field(1, handle))

    def use():
        info = client.get_flight_info(flight.FlightDescriptor.for_command(query), options(mine))
        return told(client.do_get(info.endpoints[0].ticket, options(mine)).read_all())

    first = heard(use)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(query), options(theirs))
    assert b"GLOBEX-MARK" in told(client.do_get(info.endpoints[0].ticket, options(theirs)).read_all())
    return first


answers = {sql: heard(lambda: ask(mine, sql)) for sql in questions}
for name in (b"CommandGetCatalogs", b"CommandGetDbSchemas", b"CommandGetTables", b"CommandGetTableTypes", b"CommandGetSqlInfo"):
    def metadata():
        info = client.get_flight_info(flight.FlightDescriptor.for_command(command(name)), options(mine))
        return told(client.do_get(info.endpoints[0].ticket, options(mine)).read_all())

    answers[name.decode()] = heard(metadata)
answers["stolen ticket"] = stolen("ticket")
answers["stolen handle"] = stolen("handle")
answers["control"] = ask(theirs, "select code from fault")
print(json.dumps({sql: base64.b64encode(answer).decode() for sql, answer in answers.items()}))
