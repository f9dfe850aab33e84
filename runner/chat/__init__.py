"""A chat without a screen: events, wire formats, turns, images and saved sessions.

Which class is "a chat turn"? `turn.Turn` is: a question and its answer while it grows and after,
changed by each event. A `conversation.Conversation` is the list of them, tied to the
`sessions.store.Session` that saves it: a file of `SessionEntry`s, one for each question and one
for each answer. `wire.Message` is one of either as the server gets it, role and content. So
`to_messages` makes messages of turns to send them, `to_entry` and `to_turns` save and load them,
and `answering.answer` does it all for one turn: save the question, send, apply events, save.
"""
