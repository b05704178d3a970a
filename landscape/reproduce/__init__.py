"""The study of Huang et al. (2019), figure by figure, from nets that are trained here."""
