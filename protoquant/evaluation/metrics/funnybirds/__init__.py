"""FunnyBirds: whether an explanation names the parts whose removal changes the answer, tested by removing them."""
