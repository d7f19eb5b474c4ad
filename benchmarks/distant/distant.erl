%% Erlang's distribution under the loads of the others: see erlang_peer.py.
%% The server is a gen_server; the client obeys lines on its standard input, one answer for each.
-module(distant).
-behaviour(gen_server).
-export([serve/0, client/1, start/0, init/1, handle_call/3, handle_cast/2]).
-define(LIMIT, 60000).

serve() ->
    {ok, _} = gen_server:start({local, echo}, ?MODULE, [], []),
    {ok, _} = gen_server:start({local, other}, ?MODULE, [], []),
    io:format("@@\"~s\"~n", [node()]),
    until_end().

until_end() ->
    case io:get_line("") of
        eof -> halt();
        _ -> until_end()
    end.

start() -> gen_server:start(?MODULE, [], []).

init([]) -> {ok, {0, 0}}.

handle_call({add, N}, _, {Sum, Casts}) -> {reply, Sum + N, {Sum + N, Casts}};
handle_call(received, _, {_, Casts} = State) -> {reply, Casts, State};
handle_call(Data, _, State) when is_binary(Data) -> {reply, byte_size(Data), State}.

handle_cast({add, N}, {Sum, Casts}) -> {noreply, {Sum + N, Casts + 1}}.

client([Server]) ->
    pong = net_adm:ping(Server),
    io:format("@@\"~s\"~n", [erlang:system_info(otp_release)]),
    obey(Server).

obey(Server) ->
    case io:get_line("") of
        eof -> halt();
        Line ->
            [Name | Numbers] = string:lexemes(string:trim(Line), " "),
            Answer = run(list_to_atom(Name), Server, [list_to_integer(N) || N <- Numbers]),
            io:format("@@~w~n", [Answer]),
            obey(Server)
    end.

run(latencies, Server, [Ms]) -> sequential({echo, Server}, until(Ms));
run(calls, Server, [Callers, Ms]) ->
    together(Callers, fun() -> calling({echo, Server}, {add, 1}, until(Ms), 0) end);
run(payloads, Server, [Callers, Size, Ms]) ->
    Data = binary:copy(<<0>>, Size),
    together(Callers, fun() -> calling({echo, Server}, Data, until(Ms), 0) end);
run(casts, Server, [Ms]) ->
    Before = received(Server),
    Sent = casting({echo, Server}, until(Ms), 0),
    arrived(Server, Before + Sent),
    Sent;
run(received, Server, []) -> received(Server);
run(spawns, Server, [Callers, Ms]) ->
    together(Callers, fun() -> starting(Server, until(Ms), 0) end);
run(beside, Server, [Size, Ms]) ->
    Data = binary:copy(<<0>>, Size),
    End = until(Ms),
    Self = self(),
    spawn_link(fun() -> Self ! {small, sequential({other, Server}, End)} end),
    Done = calling({echo, Server}, Data, End, 0),
    receive {small, Times} -> [Done | Times] end.

until(Ms) -> erlang:monotonic_time(nanosecond) + Ms * 1000000.

is_over(End) -> erlang:monotonic_time(nanosecond) >= End.

together(Count, Load) ->
    Self = self(),
    [spawn_link(fun() -> Self ! {done, Load()} end) || _ <- lists:seq(1, Count)],
    lists:sum([receive {done, N} -> N end || _ <- lists:seq(1, Count)]).

%% nanoseconds of each call
sequential(Ref, End) -> sequential(Ref, End, erlang:monotonic_time(nanosecond), []).

sequential(Ref, End, Start, Times) when Start < End ->
    gen_server:call(Ref, {add, 1}, ?LIMIT),
    Now = erlang:monotonic_time(nanosecond),
    sequential(Ref, End, Now, [Now - Start | Times]);
sequential(_, _, _, Times) -> Times.

calling(Ref, Message, End, Done) ->
    gen_server:call(Ref, Message, ?LIMIT),
    case is_over(End) of
        true -> Done + 1;
        false -> calling(Ref, Message, End, Done + 1)
    end.

casting(Ref, End, Done) ->
    [gen_server:cast(Ref, {add, 1}) || _ <- lists:seq(1, 500)],
    case is_over(End) of
        true -> Done + 500;
        false -> casting(Ref, End, Done + 500)
    end.

starting(Server, End, Done) ->
    {ok, _} = erpc:call(Server, ?MODULE, start, []),
    case is_over(End) of
        true -> Done + 1;
        false -> starting(Server, End, Done + 1)
    end.

received(Server) -> gen_server:call({echo, Server}, received, ?LIMIT).

arrived(Server, Count) ->
    case received(Server) >= Count of
        true -> ok;
        false -> arrived(Server, Count)
    end.
