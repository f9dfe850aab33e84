"""The made-up world that the trained tiny Step knows: pictures, dialogues, tools, and their tokens.

Everything is made from a seed and nothing is downloaded. `pictures` says what is in a picture and
`painting` makes pixels and labels of it; `dialogues` and `tools` ask about it; `template` writes a
conversation in Step's wire format; `tokenizer` and `rows` turn that into arrays to train on;
`evaluation` asks what no training seed can have shown.
"""
