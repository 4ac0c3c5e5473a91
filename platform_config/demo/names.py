"""Names of the three countries' people, streets and towns. None of the people exist."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NameStock:
    """Given names by sex, family names, and what an address is made of."""

    female: tuple[str, ...]
    male: tuple[str, ...]
    family: tuple[str, ...]
    streets: tuple[str, ...]
    birth_places: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    """A comma-separated list, over any number of lines."""
    return tuple(word.strip() for word in text.replace("\n", " ").split(",") if word.strip())


ENGLISH = NameStock(
    female=_words("""
        Abigail, Aaliyah, Amelia, Ava, Beatriz, Brooklyn, Camila, Charlotte, Chloë, Daniela, Destiny, Eleanor, Ella,
        Emily, Evelyn, Fatima, Gabriella, Grace, Hannah, Harper, Imani, Isabella, Jada, Jasmine, Josephine, Kayla,
        Leilani, Linh, Lucía, Madison, Maya, Mei, Mia, Naomi, Nia, Nora, Olivia, Penelope, Priya, Quinn, Renée, Ruby,
        Sadie, Sofía, Sophia, Tessa, Valentina, Violet, Ximena, Zoë
    """),
    male=_words("""
        Aaron, Adrián, Aiden, Andre, Arjun, Benjamin, Caleb, Carlos, Christopher, Daniel, DeShawn, Diego, Dylan, Elijah,
        Ethan, Felix, Gabriel, Henry, Hiro, Ian, Isaac, Jackson, Jamal, Jayden, José, Joshua, Julián, Kai, Kevin, Liam,
        Logan, Lucas, Malik, Marcus, Mateo, Minh, Nathan, Noah, Oliver, Omar, Owen, Rafael, Rohan, Samuel, Sebastian,
        Theo, Tomás, Tyler, William, Xavier
    """),
    family=_words("""
        Adams, Allen, Alvarez, Anderson, Baker, Bennett, Brooks, Brown, Campbell, Carter, Castillo, Chen, Clark, Cohen,
        Collins, Cooper, Cruz, D'Angelo, Davis, Díaz, Edwards, Evans, Fernández, Fitzgerald, Flores, Foster, Garcia,
        Goldberg, Gómez, Gonzalez, Gray, Green, Hall, Harris, Henderson, Hernández, Hill, Howard, Hughes, Ibáñez,
        Jackson, James, Jenkins, Johnson, Jones, Kaplan, Kaur, Kelly, Kim, King, Kowalski, Lee, Lewis, Li, Long, López,
        Lowell-Hart, MacDonald, Martin, Martínez, McCarthy, Miller, Mitchell, Moore, Morgan, Morris, Muñoz, Murphy,
        Nakamura, Nelson, Nguyen, Núñez, O'Brien, O'Connor, O'Neil, Okafor, Ortiz, Parker, Patel, Peña, Perez, Perry,
        Peterson, Phillips, Powell, Price, Ramirez, Reed, Reyes, Richardson, Rivera, Roberts, Robinson, Rodríguez,
        Rogers, Ross, Russell, Sanders, Scott, Shah, Simmons, Singh, Smith, St. Clair, Stewart, Sullivan, Taylor,
        Thomas, Thompson, Torres, Tran, Turner, van der Berg, Walker, Ward, Washington, Watson, White, Williams,
        Wilson, Wood, Wright, Yang, Young, Zhang
    """),
    streets=_words("Maple Avenue, Oak Street, Chestnut Street, Hudson Street, Elm Street, Lakeview Drive, Park Place"),
    birth_places=_words("Albany, Brooklyn, Buffalo, Manhattan, Newark, Poughkeepsie, Queens, Rochester, Yonkers"),
)

FRENCH = NameStock(
    female=_words("""
        Adèle, Agathe, Aïcha, Alice, Ambre, Anaïs, Anna, Aurélie, Camille, Capucine, Céleste, Charlotte, Chloé,
        Clémence, Éléonore, Élise, Élodie, Éloïse, Emma, Fatou, Gaëlle, Héloïse, Inès, Jade, Jeanne, Juliette, Léa,
        Léonie, Lina, Lou, Louise, Lucie, Maëlys, Manon, Margaux, Mathilde, Maïwenn, Mélissa, Noémie, Océane, Ophélie,
        Romane, Rosalie, Salomé, Sarah, Solène, Thaïs, Victoire, Yasmine, Zoé
    """),
    male=_words("""
        Aaron, Adrien, Alexandre, Amadou, Antoine, Armand, Arthur, Aurélien, Baptiste, Benoît, Clément, Cédric, Côme,
        Élie, Émile, Enzo, Étienne, Évan, Félix, Florian, Gabriel, Gaël, Gaspard, Grégoire, Gustave, Hugo, Ismaël,
        Jérémy, Joël, Jules, Karim, Léo, Léon, Loïc, Louis, Lucas, Maël, Mathéo, Maxence, Mehdi, Nathan, Noé, Noël,
        Oscar, Raphaël, Rémi, Sacha, Théo, Timothée, Victor
    """),
    family=_words("""
        André, Arnaud, Aubert, Bailly, Barbier, Baudoin, Béranger, Bernard, Berthelot, Besnard, Blanchard, Bonnet,
        Boucher, Bouvier, Brunet, Carpentier, Carré, Chevalier, Clément, Collet, Cordier, Coulibaly, Courtois, D'Arcy,
        Da Silva, De La Tour, Delattre, Deschamps, Desprès, Diallo, Dubois, Dufour, Dupont, Dupré, Durand, Étienne,
        Fabre, Faure, Fèvre, Fontaine, Fournier, François, Gaillard, Garnier, Gauthier, Gérard, Girard, Guérin,
        Guillot, Haddad, Hamel, Hébert, Henry, Hervé, Huet, Jacquet, Joly, Jourdain, Kaboré, L'Hermite, Lacroix,
        Laforêt, Lambert, Langlois, Laurent, Le Goff, Leblanc, Leclerc, Lecœur, Lefèvre, Legrand, Lemaître, Lemoine,
        Léger, Maillard, Marchand, Maréchal, Marie-Joseph, Martin, Masson, Mathieu, Ménard, Mercier, Meunier, Meyer,
        Michel, Monnier, Moreau, Morel, Moulin, N'Diaye, Nguyen, Noël, Olivier, Pélissier, Perrin, Petit, Picard,
        Pons, Poulain, Prévost, Rémy, Renard, Renaud, Rivière, Robert, Rodrigues, Rolland, Rousseau, Roussel, Roux,
        Royer, Sánchez, Saint-Exupère, Schmitt, Simon, Tessier, Thévenet, Traoré, Vallée, Vasseur, Vidal, Vincent
    """),
    streets=_words("""
        rue de la République, rue Victor-Hugo, avenue Jean-Jaurès, rue des Lilas, boulevard Voltaire, rue de l'Église,
        allée des Tilleuls
    """),
    birth_places=_words("Bordeaux, Créteil, Dakar, Évry, Lyon, Nîmes, Orléans, Paris, Saint-Étienne, Versailles"),
)

GERMAN = NameStock(
    female=_words("""
        Alina, Amelie, Anna, Annika, Antonia, Aylin, Charlotte, Clara, Elif, Elisa, Emilia, Emma, Finja, Franziska,
        Frieda, Greta, Hannah, Helene, Ida, Isabell, Jana, Johanna, Jule, Käthe, Karla, Katharina, Lara, Lea, Leni,
        Lina, Luisa, Maja, Marie, Mathilda, Merle, Mia, Mila, Nele, Paula, Pauline, Pia, Ronja, Rosalie, Sinje,
        Sophie, Svea, Theresa, Zeynep, Zoë, Žaklina
    """),
    male=_words("""
        Anton, Arda, Ben, Björn, Can, Carl, David, Elias, Emil, Emre, Fabian, Felix, Finn, Florian, Götz, Hannes,
        Henri, Jakob, Jan, Johann, Jonas, Jörg, Jürgen, Karl, Konstantin, Kürşat, Lennard, Leon, Levin, Linus, Luca,
        Ludwig, Lukas, Matteo, Maximilian, Mika, Moritz, Nils, Noah, Oskar, Paul, Philipp, Rafael, Ruben, Samuel,
        Sören, Theo, Tim, Til, Vincent
    """),
    family=_words("""
        Ackermann, Albrecht, Arslan, Bäcker, Baumann, Becker, Berger, Böhm, Brandt, Braun, Büchner, Bühler, Busch,
        Çelik, Demir, Dietrich, Döring, Engel, Ernst, Fischer, Förster, Frank, Franke, Friedrich, Fuchs, Geißler,
        Graf, Groß, Großmann, Günther, Haas, Hahn, Hartmann, Heinrich, Herrmann, Höfer, Hofmann, Horn, Huber,
        Jäger, Jahn, Kaiser, Kaya, Keller, Kießling, Klein, Köhler, König, Köster, Kowalczyk, Krämer, Kraus, Kröger,
        Krüger, Kühn, Kuhn, Lang, Lehmann, Löffler, Lorenz, Ludwig, Maier, Martin, Mayer, Meißner, Meyer, Möller,
        Müller, Müller-Lüdenscheid, Nguyen, Novák, Öztürk, Otto, Petrović, Pfeiffer, Pohl, Preuß, Räder, Richter,
        Riedel, Roth, Rößler, Sauer, Schäfer, Schmid, Schmidt, Schmitz, Schneider, Scholz, Schöne, Schreiber,
        Schröder, Schubert, Schulte, Schulz, Schumacher, Schuster, Schütz, Schwarz, Seidel, Simon, Sommer, Stein,
        Strauß, Süß, Thomas, Vogel, Vögele, Vogt, von der Heyde, Wagner, Walter, Weber, Weiß, Werner, Winkler, Winter,
        Wolf, Wójcik, Yılmaz, Ziegler, Zimmermann, zu Löwenstein
    """),
    streets=_words("""
        Hauptstraße, Schulstraße, Bahnhofstraße, Rheinallee, Goethestraße, Am Mühlbach, Weinbergstraße, Kirchgäßchen
    """),
    birth_places=_words("Ankara, Bonn, Düsseldorf, Koblenz, Köln, Ludwigshafen, Mainz, Neuwied, Würzburg, Zürich"),
)
