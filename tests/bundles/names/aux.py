eight
