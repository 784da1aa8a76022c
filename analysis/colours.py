"""The colours of all figures: Okabe and Ito's, which colour-blind readers can tell apart."""

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
AMBER, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
BLACK, GREY = "#000000", "#8C8C8C"
