"""What is shown in the pictures: pictures, files and texts, made here."""

from pathlib import Path
from typing import Final

TABLE: Final = """\
A Bloom filter answers **"was this seen?"** in a fixed amount of memory. It may say *yes* wrongly, \
never *no*.

| Bits per item | Hashes | False yes |
|--------------:|-------:|----------:|
| 4 | 3 | 14.7 % |
| 8 | 6 | 2.2 % |
| 16 | 11 | 0.05 % |

```python
def add(bits: bytearray, item: bytes) -> None:
    for seed in range(6):
        place = hash((seed, item)) % (8 * len(bits))
        bits[place // 8] |= 1 << place % 8
```

The share is $(1 - e^{-kn/m})^k$ for $k$ hashes, $n$ items and $m$ bits."""
NOTES: Final = "# Harbour\n" + "".join(
    f"- berth {n}: depth {4 + n % 7}.{n % 10} m, free from {n % 24:02d}:00\n" for n in range(1, 61)
)


def make(folder: Path) -> None:
    """Write the files of the scenes."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - as in `training`, where drawn

    scene = Image.new("RGB", (1920, 1080), "#9cc9ee")
    drawing = ImageDraw.Draw(scene)
    for y in range(600):
        shade = round(90 * y / 600)
        drawing.line((0, y, 1920, y), fill=(120 + shade, 180 + shade // 2, 230))
    drawing.rectangle((0, 600, 1920, 1080), fill="#2d6a8e")
    drawing.polygon([(0, 700), (0, 520), (380, 560), (620, 690)], fill="#4f7a3c")
    drawing.polygon([(250, 560), (280, 190), (350, 190), (380, 560)], fill="#f4f1e6")
    for y in (260, 380, 500):
        drawing.polygon([(272, y), (358, y), (364, y + 50), (266, y + 50)], fill="#c8372d")
    drawing.rectangle((285, 140, 345, 190), fill="#ffd95e")
    drawing.ellipse((1500, 90, 1640, 230), fill="#fff2b0")
    drawing.polygon([(1120, 730), (1560, 730), (1490, 830), (1180, 830)], fill="#f2efe9")
    drawing.polygon([(1330, 400), (1330, 720), (1530, 720)], fill="#fbfbfb")
    drawing.polygon([(1310, 440), (1310, 720), (1170, 720)], fill="#e8b04a")
    font = ImageFont.load_default(size=40)
    drawing.text((1225, 755), "ALMA  K-217", fill="#1c3f57", font=font)
    scene.save(folder / "harbour.jpg", quality=90)
    chart = Image.new("RGB", (1000, 700), "white")
    drawing = ImageDraw.Draw(chart)
    for place, height in enumerate((180, 320, 260, 460, 540, 390)):
        left = 110 + place * 145
        drawing.rectangle((left, 620 - height, left + 95, 620), fill="#3a6ea5")
    drawing.line((80, 620, 960, 620), fill="black", width=4)
    drawing.line((80, 60, 80, 620), fill="black", width=4)
    chart.save(folder / "chart.png")
    whole = (folder / "chart.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])  # as a download that was cut off
    sign = Image.new("RGB", (728, 728), "#f4f1e6")
    drawing = ImageDraw.Draw(sign)
    drawing.ellipse((430, 90, 610, 270), fill="#e02020")
    drawing.rectangle((120, 430, 290, 600), fill="#2050d0")
    sign.save(folder / "sign.png")
    (folder / "notes.md").write_text(NOTES)
    (folder / "berths").mkdir(exist_ok=True)
    for name in ("north", "south"):
        (folder / "berths" / f"{name}.csv").write_text("berth,depth\n" + "7,4.5\n" * 30)
